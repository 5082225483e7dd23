"""Ranking and rating metrics as loops over every order of the ties."""

from __future__ import annotations

import itertools
import math


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
