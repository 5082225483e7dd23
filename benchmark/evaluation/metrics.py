"""Metrics batched over tasks; ties take their expectation over all orders.

One idea carries the ranking metrics. In a group of m tied scores, r of them relevant, each place
the group covers holds a relevant partner with probability r / m; the first relevant one, given that
the j places before it in the group held none, stands there with probability r / (m - j). Without
ties m = 1 and both are the plain label. So no order is ever drawn, and a constant scorer gets
chance exactly (McSherry and Najork 2008, Computing Information Retrieval Performance Measures
Efficiently in the Presence of Tied Scores).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.contract import waits

TOP = 10
TOP_RATED = 5
FOLDS, SHORTEST = 5, 64  # of a long row; columns a fold for each that is asked for, below which `topk` sorts them all


def discounts(n: int, device: torch.device | str = "cpu") -> Tensor:
    """1 / log2(place + 1) for places 1 .. n: [n] float64 (Jarvelin and Kekalainen 2002)."""
    return 1.0 / torch.log2(torch.arange(2, n + 2, dtype=torch.float64, device=device))


def rows_where(flag: Tensor) -> Tensor:
    """Rows [t] of `flag` [T] to look at more closely: those where it holds, or all where the host would wait to know them."""
    return torch.arange(len(flag), device=flag.device) if waits(flag) else torch.nonzero(flag).flatten()


@dataclass(frozen=True, eq=False)
class Places:
    """What stands at the first n places of T rankings, in expectation over ties."""

    index: Tensor  # [T, n] a partner that may stand there
    relevant: Tensor  # [T, n] float64, relevant partners r (or summed gain) in the group of the place
    size: Tensor  # [T, n] float64, partners m in that group
    before: Tensor  # [T, n] float64, places j of the group that come before this one
    boundary: Tensor  # [T] bool: the last group reaches beyond place n


def top_places(scores: Tensor, relevant: Tensor, n: int = TOP) -> Places:
    """The first n places of `scores` [T, C], where -inf marks what is no candidate.

    `relevant` [T, C] bool, or float64 gains. Rows without a tie among their first n + 1 cost one top-k and a gather.
    """
    n = min(n, scores.shape[1])
    value, index = highest(scores, min(n + 1, scores.shape[1]))
    label = relevant.gather(1, index[:, :n]).double()
    real = (value[:, :n] > -torch.inf).double()
    one, zero = real, torch.zeros_like(label)
    tied = ((value[:, 1:] == value[:, :-1]) & (value[:, 1:] > -torch.inf)).any(1)
    places = Places(index[:, :n], label * real, one, zero, torch.zeros_like(tied))
    return _resolve(places, rows_where(tied), value, scores, relevant, n)


def highest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest values of each row [T, C], highest first, and a column of each; which of tied columns is open, as in `topk`.

    A long row is folded FOLDS times and the highest taken of each place: whatever is among the k highest lies under one of
    the k highest places. A CPU's `topk` costs by the column, and then looks at a fifth of them.
    """
    width = scores.shape[1] // FOLDS
    if waits(scores) or width < SHORTEST * k:
        value, column = scores.topk(k)
        return value, column
    folds = [scores[:, at * width : (at + 1) * width] for at in range(FOLDS)]
    most = torch.maximum(folds[0], folds[1])
    for fold in folds[2:]:
        torch.maximum(most, fold, out=most)
    place = most.topk(k, sorted=False).indices
    left = torch.arange(FOLDS * width, scores.shape[1], device=scores.device).expand(len(scores), -1)
    column = torch.cat([*(place + at * width for at in range(FOLDS)), left], 1)
    value, at = scores.gather(1, column).topk(k)
    return value, column.gather(1, at)


def _resolve(places: Places, row: Tensor, value: Tensor, scores: Tensor, relevant: Tensor, n: int) -> Places:
    """Replaces labels by groups in the rows `row` [t], among them all that hold a tie; the others' groups are single places."""
    if not len(row):
        return places
    v, label = value[row], places.relevant[row]
    same = (v[:, :n, None] == v[:, None, :n]).double()  # [t, n, n]
    r, m = (same @ label[:, :, None]).squeeze(2), same.sum(2)
    before = same.tril(-1).sum(2)
    boundary = places.boundary
    if v.shape[1] > n:
        beyond = (v[:, n] == v[:, n - 1]) & (v[:, n] > -torch.inf)
        long = rows_where(beyond)
        group = scores[row[long]] == v[long, n - 1 : n]  # [b, C]
        size = n_relevant(group)[:, None].double()
        own = relevant[row[long]]
        liked = (n_relevant(group & own) if own.dtype == torch.bool else (group * own).sum(1))[:, None].double()
        last = same[long, n - 1].bool() & beyond[long, None]
        r[long], m[long] = torch.where(last, liked, r[long]), torch.where(last, size, m[long])
        boundary = boundary.index_put((row[long],), beyond[long])
    real = v[:, :n] > -torch.inf
    parts = zip((places.relevant, places.size, places.before), (r, m, before), strict=True)
    relevant_, size_, before_ = (plain.index_put((row,), found * real) for plain, found in parts)
    return Places(places.index, relevant_, size_, before_, boundary)


def n_relevant(relevant: Tensor) -> Tensor:
    """How many of each row of a mask [T, C] are True: [T] int64.

    On a CPU the cells are packed into bits and these counted: a plain sum makes 8 bytes of each cell first, and takes 40 times as long.
    """
    if waits(relevant):
        return relevant.sum(1)
    bits = np.bitwise_count(np.packbits(relevant.numpy(), axis=1))
    return torch.from_numpy(bits.sum(1, dtype=np.int64))


def chance_places(candidates: Tensor, n_relevant: Tensor, n: int = TOP) -> Places:
    """The places of a constant scorer: one group of all `candidates` [T], `n_relevant` [T] relevant."""
    j = torch.arange(n, dtype=torch.float64).expand(len(candidates), n)
    real = j < candidates[:, None]
    r, m = n_relevant[:, None] * real, candidates[:, None] * real
    index = torch.zeros_like(j, dtype=torch.int64)
    return Places(index, r.double(), m.double(), j * real, candidates > n)


def ranking(places: Places, n_relevant: Tensor) -> dict[str, Tensor]:
    """ndcg@10, recall@10 and mrr@10 of T tasks with `n_relevant` [T] relevant candidates: [T] float64."""
    n = places.relevant.shape[1]
    discount = discounts(n, places.relevant.device)
    expected = torch.where(places.size > 0, places.relevant / places.size, 0.0)
    reachable = n_relevant.clamp(max=n)
    ideal = discount.cumsum(0)[reachable.long() - 1]
    left = (places.size - places.before).clamp(min=1)
    first = (places.relevant / left).clamp(max=1)
    none_before = torch.cat([torch.ones_like(first[:, :1]), (1 - first).cumprod(1)[:, :-1]], 1)
    rank = torch.arange(1, n + 1, dtype=torch.float64, device=discount.device)
    return {
        f"ndcg@{TOP}": (expected * discount).sum(1) / ideal,
        f"recall@{TOP}": expected.sum(1) / reachable,
        f"mrr@{TOP}": (first * none_before / rank).sum(1),
    }


class Coverage:
    """coverage@10: the share of candidates that stand in the top 10 of at least one task.

    Where ties leave it open, the expected share.
    """

    def __init__(self, candidate: Tensor) -> None:
        """`candidate` [C] bool: who may be ranked at all."""
        self._candidate = candidate
        self._missed = torch.ones(len(candidate) + 1, dtype=torch.float64, device=candidate.device)  # a last one for nobody

    def add(self, places: Places, scores: Tensor) -> None:
        """Counts one batch; `scores` [T, C] as given to `top_places`."""
        row, inside = rows_where(places.boundary), places.size > 0
        miss: Tensor | None = None
        if len(row):
            is_open, own = places.boundary[row, None], scores[row]
            shown, size = places.before[row, -1] + 1, places.size[row, -1]
            edge = own.gather(1, places.index[row, -1:])
            miss = torch.where((own == edge) & is_open, (1 - shown / size)[:, None], 1.0).prod(0)
            last = (own.gather(1, places.index[row]) == edge) & is_open
            inside = inside.index_put((row,), inside[row] & ~last)
        shown_partner = torch.where(inside, places.index, len(self._candidate)).flatten()
        # Written to when all that needs memory is done.
        if miss is not None:
            self._missed[:-1] *= miss
        self._missed.index_fill_(0, shown_partner, 0.0)

    def share(self) -> float:
        return float((1 - self._missed[:-1][self._candidate]).mean())


def mean_popularity(places: Places, scores: Tensor, popularity: Tensor) -> Tensor:
    """The mean popularity [T] of the first 10, `popularity` [C] being the share of warm entities."""
    shown = popularity[places.index]
    row = rows_where(places.boundary)
    if len(row):
        own = scores[row]
        edge = own.gather(1, places.index[row, -1:])
        group = (own == edge).double()
        mean = (group @ popularity) / group.sum(1)
        last = (own.gather(1, places.index[row]) == edge) & places.boundary[row, None]
        shown[row] = torch.where(last, mean[:, None], shown[row])
    inside = (places.size > 0).double()
    return (shown * inside).sum(1) / inside.sum(1)


def errors(predicted: Tensor, rating: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """mae and rmse of each task over its query [T, Q]: [T] float64. The task is the unit, not the row."""
    n = mask.sum(1)
    gap = (predicted.double() - rating.double()) * mask
    return {"mae": gap.abs().sum(1) / n, "rmse": (gap.square().sum(1) / n).sqrt()}


def rated_ndcg(predicted: Tensor, rating: Tensor, mask: Tensor, n: int = TOP_RATED) -> tuple[Tensor, Tensor]:
    """nDCG@5 over the query items alone, gain 2^rating - 1, and its chance level: two [T] float64.

    Random order already reaches .66 on ten items, so the one means nothing without the other.
    """
    gain = (torch.pow(2.0, rating.double()) - 1) * mask
    places = top_places(predicted.double().masked_fill(~mask, -torch.inf), gain, n)
    shown = places.relevant.shape[1]
    discount = discounts(shown, gain.device)
    ideal = (gain.topk(shown).values * discount).sum(1)
    expected = torch.where(places.size > 0, places.relevant / places.size, 0.0)
    rows = mask.sum(1)
    reached = discount.cumsum(0)[rows.clamp(max=shown) - 1]
    return (expected * discount).sum(1) / ideal, gain.sum(1) / rows * reached / ideal
