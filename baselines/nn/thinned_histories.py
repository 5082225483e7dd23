"""Whole histories to learn from, and the part of each that the network may see; without padding, on a CPU.

For methods that say a whole history from a part of it. Half of the parts are as short as the supports to come.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.nn.sparse_rows import SparseRows
from benchmark.contract import World, waits


class ThinnedHistories:
    """The warm entities' rows, and what a step reads of them: for half of the entities a `share` of their rows, else about k."""

    def __init__(self, world: World, value: Tensor, share: float, generator: torch.Generator) -> None:
        rows = world.ratings
        self._value, self._share, self._generator, self._n_partners = value, share, generator, world.n_partners
        self._liked = (rows.rating >= world.relevant_from).float()
        self._rows = SparseRows.of(rows.entity, rows.partner, world.n_entities)
        n_liked = torch.zeros(world.n_entities, device=world.device).index_add_(0, rows.entity, self._liked)
        self._able, self._shots = torch.nonzero(n_liked).flatten(), torch.tensor(world.shots, device=world.device)
        self.n_able, self._longest = len(self._able), int(self._rows.count().max())

    def shuffled(self) -> Tensor:
        """The entities that liked something, in a new order."""
        return self._able[torch.randperm(self.n_able, generator=self._generator, device=self._able.device)]

    def draw(self, entity: Tensor) -> tuple[SparseRows, Tensor, Tensor]:
        """Of entities [B]: the rows that stay and what each counts for, and their likes as shares [B, n_partners]."""
        device, count = entity.device, self._rows.count()[entity]
        few = self._shots[torch.randint(len(self._shots), (len(entity),), generator=self._generator, device=device)] / count
        half = torch.rand(len(entity), generator=self._generator, device=device) < 0.5
        stays = torch.where(half, few, self._share)
        if waits(entity):
            return self._padded(entity, count, stays)
        task = torch.repeat_interleave(torch.arange(len(entity), device=device), count)
        start = self._rows.offset[entity] - (count.cumsum(0) - count)
        cell = torch.arange(len(task), device=device) + start[task]
        partner = self._rows.column[cell]
        kept = torch.rand(len(task), generator=self._generator, device=device) < stays[task]
        y = torch.zeros(len(entity), self._n_partners, device=device)
        y[task, partner] = self._liked[cell]
        return SparseRows.of(task[kept], partner[kept], len(entity)), self._value[cell[kept]], functional.normalize(y, p=1)

    def _padded(self, entity: Tensor, count: Tensor, stays: Tensor) -> tuple[SparseRows, Tensor, Tensor]:
        """The same where the host would wait for sizes: histories padded to the longest, rows that do not stay counting 0."""
        place = torch.arange(self._longest, device=entity.device)
        real = place < count[:, None]
        cell = (self._rows.offset[entity, None] + place) * real
        partner = self._rows.column[cell]
        kept = (torch.rand(cell.shape, generator=self._generator, device=cell.device) < stays[:, None]) & real
        y = torch.zeros(len(entity), self._n_partners, device=cell.device).scatter_add_(1, partner, self._liked[cell] * real)
        offset, order = (torch.arange(0, cell.numel() + 1, step, device=cell.device) for step in (self._longest, 1))
        return SparseRows(offset, partner.flatten(), order[:-1]), (self._value[cell] * kept).flatten(), functional.normalize(y, p=1)
