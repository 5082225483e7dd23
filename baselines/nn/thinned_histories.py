"""Whole histories to learn from, and the part of each that the network may see; without padding.

For methods that say a whole history from a part of it. Half of the parts are as short as the supports to come.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.nn.sparse_rows import SparseRows
from benchmark.contract import World


class ThinnedHistories:
    """The warm entities' rows, and what a step reads of them: for half of the entities a `share` of their rows, else about k."""

    def __init__(self, world: World, value: Tensor, share: float, generator: torch.Generator) -> None:
        rows = world.ratings
        self._value, self._share, self._generator, self._n_partners = value, share, generator, world.n_partners
        self._liked = (rows.rating >= world.relevant_from).float()
        self._rows = SparseRows.of(rows.entity, rows.partner, world.n_entities)
        n_liked = torch.zeros(world.n_entities, device=world.device).index_add_(0, rows.entity, self._liked)
        self._able, self._shots = torch.nonzero(n_liked).flatten(), torch.tensor(world.shots, device=world.device)
        self.n_able = len(self._able)

    def shuffled(self) -> Tensor:
        """The entities that liked something, in a new order."""
        return self._able[torch.randperm(self.n_able, generator=self._generator, device=self._able.device)]

    def draw(self, entity: Tensor) -> tuple[SparseRows, Tensor, Tensor]:
        """Of entities [B]: the rows that stay and what each counts for, and their likes as shares [B, n_partners]."""
        device, count = entity.device, self._rows.count()[entity]
        task = torch.repeat_interleave(torch.arange(len(entity), device=device), count)
        start = self._rows.offset[entity] - (count.cumsum(0) - count)
        cell = torch.arange(len(task), device=device) + start[task]
        partner = self._rows.column[cell]
        few = self._shots[torch.randint(len(self._shots), (len(entity),), generator=self._generator, device=device)] / count
        half = torch.rand(len(entity), generator=self._generator, device=device) < 0.5
        stays = torch.where(half, few, self._share)[task]
        kept = torch.rand(len(task), generator=self._generator, device=device) < stays
        y = torch.zeros(len(entity), self._n_partners, device=device)
        y[task, partner] = self._liked[cell]
        return SparseRows.of(task[kept], partner[kept], len(entity)), self._value[cell[kept]], functional.normalize(y, p=1)
