"""Ranking and rating metrics as loops: over every order of the ties, and, for longer rankings, over the places."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray


def _orders(scores: list[float]) -> list[list[int]]:
    """Every ranking of the candidates that the scores allow."""
    groups = [[i for i, s in enumerate(scores) if s == value] for value in sorted({s for s in scores if s > -math.inf}, reverse=True)]
    per_group = [list(itertools.permutations(group)) for group in groups]
    return [list(itertools.chain(*choice)) for choice in itertools.product(*per_group)]


def ranking(scores: list[float], relevant: list[bool], n: int = 10) -> dict[str, float]:
    """Means over all orders."""
    rankings = _orders(scores)
    n_relevant = sum(relevant)
    ideal = sum(1 / math.log2(p + 2) for p in range(min(n, n_relevant)))
    total = {"ndcg@10": 0.0, "recall@10": 0.0, "mrr@10": 0.0}
    for order in rankings:
        hits = [p for p, i in enumerate(order[:n]) if relevant[i]]
        total["ndcg@10"] += sum(1 / math.log2(p + 2) for p in hits) / ideal
        total["recall@10"] += len(hits) / min(n, n_relevant)
        total["mrr@10"] += 1 / (hits[0] + 1) if hits else 0.0
    return {name: value / len(rankings) for name, value in total.items()}


def in_expectation(scores: NDArray[np.floating], relevant: NDArray[np.bool_], n: int = 10) -> dict[str, float]:
    """One user's means over all orders without listing them: place by place, each with the group of ties that it lies in."""
    best = -np.sort(-scores)[:n]
    n_relevant, nothing_yet = int(relevant.sum()), 1.0
    total = {"ndcg@10": 0.0, "recall@10": 0.0, "mrr@10": 0.0}
    for place, score in enumerate(best):
        group = scores == score
        size, liked, before = int(group.sum()), int((group & relevant).sum()), place - int(np.argmax(best == score))
        total["ndcg@10"] += liked / size / math.log2(place + 2)
        total["recall@10"] += liked / size / min(n, n_relevant)
        first = min(1.0, liked / (size - before))
        total["mrr@10"] += nothing_yet * first / (place + 1)
        nothing_yet *= 1 - first
    total["ndcg@10"] /= sum(1 / math.log2(place + 2) for place in range(min(n, n_relevant)))
    return total


def in_top(scores: list[float], n: int = 10) -> list[float]:
    """The chance of each candidate to stand in the top n."""
    rankings = _orders(scores)
    return [sum(i in order[:n] for order in rankings) / len(rankings) for i in range(len(scores))]


def rated_ndcg(predicted: list[float], rating: list[float], n: int = 5) -> float:
    """Mean over all orders of nDCG@n with gain 2^rating - 1."""
    gain = [2**r - 1 for r in rating]
    ideal = sum(g / math.log2(p + 2) for p, g in enumerate(sorted(gain, reverse=True)[:n]))
    rankings = _orders(predicted)
    dcg = [sum(gain[i] / math.log2(p + 2) for p, i in enumerate(order[:n])) for order in rankings]
    return sum(dcg) / len(dcg) / ideal
