"""Tasks: a support to adapt to and a query to be judged on; and the sampler of training tasks.

Test tasks are values that `tracks` cuts once. Training tasks are drawn from the warm entities'
histories by one sampler for all methods, on the device, without a loop over tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.contract import Support, TensorRecord, World
from benchmark.errors import MethodError
from benchmark.protocol.histories import Histories, chosen, in_time

GIVEN_ROWS = 64  # of the source domain, at most, in a training task


@dataclass(frozen=True, eq=False)
class Sizes:
    """What the shapes of tasks depend on, on the host."""

    offset: NDArray[np.int64]  # [T + 1], the query's
    pool: NDArray[np.bool_]  # [T, K] which columns are real
    given: NDArray[np.bool_]  # [T, G]

    def __getitem__(self, run: slice) -> Sizes:
        offset = self.offset[run.start : run.stop + 1]
        return Sizes(offset - offset[0], self.pool[run], self.given[run])

    def columns(self) -> tuple[slice, slice]:
        """Of pool and given: without what is padding in every task."""
        return slice(0, max(1, int(self.pool.any(0).sum()))), slice(0, int(self.given.any(0).sum()))


@dataclass(frozen=True, eq=False)
class Tasks(TensorRecord):
    """T entities to adapt to. What lies in the pool, of at most K rows, is withheld from query and candidates at every k."""

    entity: Tensor  # [T] int64
    pool_partner: Tensor  # [T, K] int64, in the order in which they are shown
    pool_rating: Tensor  # [T, K] float32
    pool_time: Tensor  # [T, K] int64; zeros where time means nothing
    pool_mask: Tensor  # [T, K] bool; False where it is padded
    given_partner: Tensor  # [T, G] int64 of the source domain: shown at every k, before the pool, and counted in none
    given_rating: Tensor  # [T, G] float32
    given_mask: Tensor  # [T, G] bool
    candidate: Tensor  # [n_partners] bool: who may be ranked
    query_offset: Tensor  # [T + 1] int64: task t's query rows are offset[t] .. offset[t + 1] - 1
    query_partner: Tensor  # [N] int64
    query_rating: Tensor  # [N] float32

    def __len__(self) -> int:
        return self.entity.shape[0]

    def support(self, shots: int) -> Support:
        """The first `shots` rows of each pool, the oldest first: supports are nested. At 0 shots one masked column remains."""
        shown = slice(0, max(1, shots))
        mask = self.pool_mask[:, shown] & (shots > 0)
        time = self.pool_time[:, shown] * mask
        order = torch.where(mask, time, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
        partner, rating = (self.pool_partner[:, shown] * mask).gather(1, order), (self.pool_rating[:, shown] * mask).gather(1, order)
        return Support(
            self.entity.clone(),
            torch.cat([self.given_partner, partner], 1),
            torch.cat([self.given_rating, rating], 1),
            torch.cat([torch.zeros_like(self.given_partner), time.gather(1, order)], 1),
            torch.cat([self.given_mask, mask.gather(1, order)], 1),
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
        first, last = int(self.sizes.offset[start]), int(self.sizes.offset[stop])
        sizes = self.sizes[start:stop]
        longest, given = sizes.columns()
        found = Tasks(
            self.entity[start:stop],
            self.pool_partner[start:stop, longest],
            self.pool_rating[start:stop, longest],
            self.pool_time[start:stop, longest],
            self.pool_mask[start:stop, longest],
            self.given_partner[start:stop, given],
            self.given_rating[start:stop, given],
            self.given_mask[start:stop, given],
            self.candidate,
            self.query_offset[start : stop + 1] - first,
            self.query_partner[first:last],
            self.query_rating[first:last],
        )
        found.__dict__["sizes"] = sizes  # the cached property: a batch does not ask the device again
        return found

    @cached_property
    def sizes(self) -> Sizes:
        """The sizes of every task, read from the device once."""
        offset, pool, given = (one.cpu().numpy() for one in (self.query_offset, self.pool_mask, self.given_mask))
        return Sizes(offset, pool, given)

    def candidates(self) -> Tensor:
        """Who may be ranked for each task, its pool withheld: [T, n_partners] bool."""
        n = len(self.candidate)
        beyond = torch.where(self.pool_mask, self.pool_partner, n)  # padding falls into a column of its own
        found = torch.cat([self.candidate, self.candidate.new_zeros(1)]).repeat(len(self), 1)
        return found.scatter_(1, beyond, False)[:, :n]

    def query_task(self) -> Tensor:
        """The task of each query row: [N] int64."""
        rows = self.query_offset.diff()
        return torch.repeat_interleave(torch.arange(len(self), device=rows.device), rows, output_size=len(self.query_partner))

    def padded_query(self) -> tuple[Tensor, Tensor, Tensor]:
        """(partner, rating, mask) of the query, each [T, Q], masked entries 0."""
        rows = self.query_offset.diff()
        place = torch.arange(int(np.diff(self.sizes.offset).max()), device=rows.device)
        mask = place < rows[:, None]
        row = (self.query_offset[:-1, None] + place) * mask
        return self.query_partner[row] * mask, self.query_rating[row] * mask, mask


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

    Each epoch orders every history at random once (where supports are an entity's first or last rows, histories stay
    in the order of time); a task is a window of it at a random place, so a batch is a gather of T x (K + Q) rows
    however long the histories are. Where there is a source domain, a window of the entity's rows there comes first.
    """

    drawn: ClassVar[int] = 0  # training tasks of all samplers of this process: a fit's throughput is counted by the difference

    def __init__(self, world: World, seed: int, n_query: int = 20, n_given: int = GIVEN_ROWS) -> None:
        """Raises MethodError where no warm entity has a row more than the largest support."""
        self._world, self._n_query, self._n_given = world, n_query, n_given
        self._generator = torch.Generator(world.device).manual_seed(seed)
        source = (world.partner_domain > 0)[world.ratings.partner]
        several = bool(source.any())
        self._histories = Histories(chosen(world.ratings, ~source) if several else world.ratings, world.n_entities)
        self._given = Histories(chosen(world.ratings, source), world.n_entities) if several else None
        self._pool = max(world.shots)
        self._shots = torch.tensor(world.shots, device=world.device)
        self._able = torch.nonzero(self._histories.rows > self._pool).flatten()
        if len(self._able) == 0:
            raise MethodError(
                f"no warm entity has more than {self._pool} rows to make a training task of; the longest history "
                f"has {int(self._histories.rows.max())}; trim the board's shots for this data set"
            )
        self._order = self._given_order = torch.empty(0, dtype=torch.int64)
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
        TaskSampler.drawn += n_tasks
        histories, timed = self._histories, self._world.reads_time
        entity = self._able[self._integers(len(self._able), n_tasks)]
        row, real = self._window(histories, self._order, entity, self._pool + self._n_query, spare=self._pool if timed else 0)
        real = real[:, self._pool :]  # a window longer than the history would wrap around
        partner, rating, time = histories.partner[row], histories.rating[row], histories.time[row]
        k = self._shots[self._integers(len(self._shots), n_tasks)]
        place = torch.arange(self._pool, device=k.device)
        shown, at = place < k[:, None], place.expand(n_tasks, -1)
        if self._world.support_order == "last":  # the k rows right before the query, from the left
            at = (at + self._pool - k[:, None]).clamp(max=self._pool - 1)
        pool, query = partner[:, : self._pool], slice(self._pool, None)
        support = Support(
            entity, pool.gather(1, at) * shown, rating.gather(1, at) * shown, time.gather(1, at) * (shown if timed else 0), shown
        )
        if self._given is not None:
            support = self._with_given(support, self._given)
        return Episode(support, pool, partner[:, query] * real, rating[:, query] * real, real)

    def _with_given(self, support: Support, given: Histories) -> Support:
        row, mask = self._window(given, self._given_order, support.entity, self._n_given)
        partner, rating = given.partner[row] * mask, given.rating[row] * mask
        return Support(
            support.entity,
            torch.cat([partner, support.partner], 1),
            torch.cat([rating, support.rating], 1),
            torch.cat([partner * 0, support.time], 1),
            torch.cat([mask, support.mask], 1),
        )

    def _window(self, histories: Histories, order: Tensor, entity: Tensor, most: int, spare: int = 0) -> tuple[Tensor, Tensor]:
        """Rows [T, most] that follow each other in `order`, from a random one, and which of them are not one twice.

        With `spare`, a window keeps the order of time: it does not wrap around, and that many rows and one more lie in it.
        """
        rows, place = histories.rows[entity, None], torch.arange(most, device=entity.device)
        start = (torch.rand(len(entity), 1, generator=self._generator, device=entity.device) * (rows - spare)).long()
        real = place < (rows - start if spare else rows)
        return order[(histories.offset[entity, None] + (start + place) % rows.clamp(min=1)).clamp(max=len(order) - 1)], real

    def _integers(self, below: int, n: int) -> Tensor:
        return torch.randint(below, (n,), generator=self._generator, device=self._world.device)

    def _shuffle(self) -> None:
        self._order = in_time(self._histories) if self._world.reads_time else self._shuffled(self._histories)
        if self._given is not None:
            self._given_order = self._shuffled(self._given)
        self._reshuffle_after = self._drawn + max(len(self._able), 16 * 256)

    def _shuffled(self, histories: Histories) -> Tensor:
        """The rows, each entity's in an order of their own: [N] int64."""
        found = torch.empty_like(histories.entity)
        for start, stop in histories.runs:
            luck = torch.rand(stop - start, generator=self._generator, device=found.device, dtype=torch.float64)
            found[start:stop] = torch.argsort(luck.add_(histories.entity[start:stop])).add_(start)
        return found
