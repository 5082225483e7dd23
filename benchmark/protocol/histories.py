"""The warm entities' rows, grouped by entity, as training tasks are drawn from them."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from benchmark.contract import Ratings

ROWS_AT_ONCE = 8_000_000  # of the histories, while they are put into another order


class Histories:
    """The warm rows as CSR columns: entity e's rows are offset[e] .. offset[e + 1] - 1."""

    def __init__(self, ratings: Ratings, n_entities: int) -> None:
        rows = torch.bincount(ratings.entity, minlength=n_entities)
        self.offset = torch.cat([rows.new_zeros(1), rows.cumsum(0)])  # [n_entities + 1]
        self.rows = rows  # [n_entities]
        self.entity, self.partner = ratings.entity, ratings.partner
        self.rating, self.time = ratings.rating, ratings.time
        self.runs = _runs(self.offset)  # rows from .. to before, whole histories


def _runs(offset: Tensor) -> list[tuple[int, int]]:
    """Runs of whole histories of about ROWS_AT_ONCE rows: what is sorted by entity can be sorted run by run."""
    every = torch.arange(0, int(offset[-1]) + ROWS_AT_ONCE, ROWS_AT_ONCE, device=offset.device)
    ends = offset[torch.searchsorted(offset, every).clamp(max=len(offset) - 1)]
    return [(start, stop) for start, stop in itertools.pairwise(ends.tolist()) if stop > start]


def in_time(histories: Histories) -> Tensor:
    """The rows, each entity's in the order of time: [N] int64."""
    found = torch.empty_like(histories.entity)
    for start, stop in histories.runs:
        order = torch.argsort(histories.time[start:stop], stable=True)
        found[start:stop] = order[torch.argsort(histories.entity[start:stop][order], stable=True)].add_(start)
    return found


def chosen(ratings: Ratings, keep: Tensor) -> Ratings:
    """The rows where `keep` [N] holds."""
    return Ratings(ratings.entity[keep], ratings.partner[keep], ratings.rating[keep], ratings.time[keep])
