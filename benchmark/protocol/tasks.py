"""Tasks: a support to adapt to and a query to be judged on; and the sampler of training tasks.

Test tasks are values that `tracks` cuts once. Training tasks are drawn from the warm entities'
histories by one sampler for all methods, on the device, without a loop over tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.contract import Ratings, Support, TensorRecord, World
from benchmark.errors import MethodError


@dataclass(frozen=True, eq=False)
class Tasks(TensorRecord):
    """T entities to adapt to. What lies in the pool, of at most K rows, is withheld from the query at every k."""

    entity: Tensor  # [T] int64
    pool_partner: Tensor  # [T, K] int64, in the order in which they are shown
    pool_rating: Tensor  # [T, K] float32
    pool_time: Tensor  # [T, K] int64
    pool_mask: Tensor  # [T, K] bool; all True where a board's shots are numbers, padding where they are `all`
    query_offset: Tensor  # [T + 1] int64: task t's query rows are offset[t] .. offset[t + 1] - 1
    query_partner: Tensor  # [N] int64
    query_rating: Tensor  # [N] float32

    def __len__(self) -> int:
        return self.entity.shape[0]

    def support(self, shots: int) -> Support:
        """The first `shots` rows of each pool: supports are nested. At 0 shots one masked column remains."""
        shown = slice(0, max(1, shots))
        mask = self.pool_mask[:, shown] & (shots > 0)
        return Support(
            self.entity.clone(),
            self.pool_partner[:, shown] * mask,
            self.pool_rating[:, shown] * mask,
            self.pool_time[:, shown] * mask,
            mask,
        )

    def batches(self, size: int) -> Iterator[Tasks]:
        """The tasks in runs of at most `size`, in order."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def __getitem__(self, run: slice) -> Tasks:
        """A contiguous run of tasks."""
        start, stop, step = run.indices(len(self))
        if step != 1:
            raise ValueError(f"tasks are cut into contiguous runs, got a step of {step}")
        first, last = int(self.query_offset[start]), int(self.query_offset[stop])
        longest = slice(0, max(1, int(self.pool_mask[start:stop].any(0).sum())))
        return Tasks(
            self.entity[start:stop],
            self.pool_partner[start:stop, longest],
            self.pool_rating[start:stop, longest],
            self.pool_time[start:stop, longest],
            self.pool_mask[start:stop, longest],
            self.query_offset[start : stop + 1] - first,
            self.query_partner[first:last],
            self.query_rating[first:last],
        )

    def withheld(self, n_partners: int) -> Tensor:
        """Which partners lie in each task's pool, and so are no candidates: [T, n_partners] bool."""
        beyond = torch.where(self.pool_mask, self.pool_partner, n_partners)  # padding falls into a column of its own
        found = torch.zeros(len(self), n_partners + 1, dtype=torch.bool, device=beyond.device)
        return found.scatter_(1, beyond, True)[:, :n_partners]

    def query_task(self) -> Tensor:
        """The task of each query row: [N] int64."""
        rows = self.query_offset.diff()
        return torch.repeat_interleave(torch.arange(len(self), device=rows.device), rows)

    def padded_query(self) -> tuple[Tensor, Tensor, Tensor]:
        """(partner, rating, mask) of the query, each [T, Q], masked entries 0."""
        rows = self.query_offset.diff()
        place = torch.arange(int(rows.max()), device=rows.device)
        mask = place < rows[:, None]
        row = (self.query_offset[:-1, None] + place) * mask
        return self.query_partner[row] * mask, self.query_rating[row] * mask, mask


class Histories:
    """The warm rows as CSR columns: entity e's rows are offset[e] .. offset[e + 1] - 1."""

    def __init__(self, ratings: Ratings, n_entities: int) -> None:
        rows = torch.bincount(ratings.entity, minlength=n_entities)
        self.offset = torch.cat([rows.new_zeros(1), rows.cumsum(0)])  # [n_entities + 1]
        self.rows = rows  # [n_entities]
        self.entity, self.partner = ratings.entity, ratings.partner
        self.rating, self.time = ratings.rating, ratings.time


@dataclass(frozen=True, eq=False)
class Episode(TensorRecord):
    """T training tasks. `pool` is what a test task would withhold: never a candidate."""

    support: Support
    pool: Tensor  # [T, K] int64 partners, the support's and the rest of the pool
    query_partner: Tensor  # [T, Q] int64, 0 where masked out
    query_rating: Tensor  # [T, Q] float32, 0 where masked out
    query_mask: Tensor  # [T, Q] bool

    def __getitem__(self, rows: Tensor | slice) -> Episode:
        """The tasks that `rows` selects, in that order."""
        return Episode(self.support[rows], self.pool[rows], self.query_partner[rows], self.query_rating[rows], self.query_mask[rows])


class TaskSampler:
    """Draws training tasks shaped like the tests to come: k mixed over the world's shots, 0 included.

    Each epoch orders every history at random once; a task is a window of it at a random place, so
    a batch is a gather of T x (K + Q) rows however long the histories are.
    """

    def __init__(self, world: World, seed: int, n_query: int = 20) -> None:
        """Raises MethodError where no warm entity has a row more than the largest support."""
        self._world, self._n_query = world, n_query
        self._generator = torch.Generator(world.device).manual_seed(seed)
        self._histories = Histories(world.ratings, world.n_entities)
        self._pool = max(world.shots)
        self._shots = torch.tensor(world.shots, device=world.device)
        self._able = torch.nonzero(self._histories.rows > self._pool).flatten()
        if len(self._able) == 0:
            raise MethodError(
                f"no warm entity has more than {self._pool} rows to make a training task of; the longest history "
                f"has {int(self._histories.rows.max())}; trim the board's shots for this data set"
            )
        self._order = torch.empty(0, dtype=torch.int64)
        self._drawn = self._reshuffle_after = 0

    @property
    def able(self) -> Tensor:
        """The warm entities that are drawn from: [n_able] int64."""
        return self._able

    @property
    def n_able(self) -> int:
        """Warm entities that are long enough to become a task."""
        return len(self._able)

    def sample(self, n_tasks: int) -> Episode:
        """`n_tasks` training tasks; entities, windows and support sizes are independent draws."""
        if self._drawn >= self._reshuffle_after:
            self._shuffle()
        self._drawn += n_tasks
        device, histories = self._world.device, self._histories
        entity = self._able[self._integers(len(self._able), n_tasks)]
        rows = histories.rows[entity, None]
        place = torch.arange(self._pool + self._n_query, device=device)
        start = (torch.rand(n_tasks, 1, generator=self._generator, device=device) * rows).long()
        row = self._order[histories.offset[entity, None] + (start + place) % rows]
        real = (place < rows)[:, self._pool :]  # a window longer than the history would wrap around
        partner, rating, time = histories.partner[row], histories.rating[row], histories.time[row]
        k = self._shots[self._integers(len(self._shots), n_tasks)]
        shown = place[: self._pool] < k[:, None]
        pool, query = slice(None, self._pool), slice(self._pool, None)
        support = Support(entity, partner[:, pool] * shown, rating[:, pool] * shown, time[:, pool] * 0, shown)
        return Episode(support, partner[:, pool], partner[:, query] * real, rating[:, query] * real, real)

    def _integers(self, below: int, n: int) -> Tensor:
        return torch.randint(below, (n,), generator=self._generator, device=self._world.device)

    def _shuffle(self) -> None:
        entity = self._histories.entity
        luck = torch.rand(len(entity), generator=self._generator, device=entity.device, dtype=torch.float64)
        self._order = torch.argsort(entity + luck)
        self._reshuffle_after = self._drawn + max(len(self._able), 16 * 256)
