"""What every cut says: who is asked, which rows are shown, which are asked for, and which train.

The cuts themselves are in `random_cuts`, `time_cuts` and, those of old papers, in `papers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.protocol.boards import Board
from benchmark.protocol.seeds import derive_seed, keyed_hash

QUERY_ROWS = 5  # an eligible entity has this many rows beyond the largest support
SMALL = 2_000  # a data set with fewer eligible entities is cut into larger slices
ROWS_AT_ONCE = 1_000_000  # of tasks, while they are put into an order
FEWEST_TASKS = 2  # a slice below this cannot be called a test set

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Order = Callable[[Ints], NDArray[np.uint64]]  # rows of the data set [M] -> what they are sorted by


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of the data set, grouped by task."""

    row: Ints  # [M]
    n: Ints  # [T] rows of each task

    @classmethod
    def none(cls, n_tasks: int) -> Rows:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(n_tasks, dtype=np.int64))

    def task(self) -> Ints:
        """The task of each row: [M]."""
        return np.repeat(np.arange(len(self.n)), self.n)

    def place(self) -> Ints:
        """The place of each row among those of its task: [M]."""
        return np.arange(len(self.row)) - np.repeat(np.cumsum(self.n) - self.n, self.n)

    def where(self, keep: Flags) -> Rows:
        """The rows [M] that `keep` names."""
        return Rows(self.row[keep], np.bincount(self.task()[keep], minlength=len(self.n)))

    def of(self, tasks: Flags) -> Rows:
        """The rows of the tasks [T] that `tasks` names."""
        return Rows(self.row[np.repeat(tasks, self.n)], self.n[tasks])

    def sorted_by(self, key: NDArray[np.uint64]) -> Rows:
        """Each task's rows in the order of `key` [M]; sorted in runs of tasks, so that the time is linear in the rows."""
        task, order, ends = self.task(), np.empty(len(self.row), dtype=np.int64), np.cumsum(self.n)
        cuts = np.searchsorted(ends, np.arange(0, len(self.row) + ROWS_AT_ONCE, ROWS_AT_ONCE))
        for start, stop in itertools.pairwise([0, *ends[np.minimum(cuts, len(ends) - 1)].tolist()] if len(ends) else []):
            order[start:stop] = start + np.lexsort((key[start:stop], task[start:stop]))
        return Rows(self.row[order], self.n)


@dataclass(frozen=True, eq=False)
class Chosen:
    """T entities to make tasks of. What lies in the pool is withheld from query and candidates at every k."""

    entity: Ints  # [T] in the order of the tasks
    pool: Rows  # in the order in which they are shown
    query: Rows
    given: Rows | None = None  # shown at every k, and counted in none: an entity's rows of the source domain
    candidate: Flags | None = None  # [n_partners] who may be ranked; None: everybody

    @classmethod
    def nobody(cls) -> Chosen:
        return cls(np.zeros(0, dtype=np.int64), Rows.none(0), Rows.none(0))

    def of(self, tasks: Flags) -> Chosen:
        """The tasks [T] that `tasks` names."""
        given = None if self.given is None else self.given.of(tasks)
        return Chosen(self.entity[tasks], self.pool.of(tasks), self.query.of(tasks), given, self.candidate)

    def with_query(self, at_least: int = 1) -> Chosen:
        """Those that have a query of so many rows."""
        return self.of(self.query.n >= at_least)


@dataclass(frozen=True, eq=False)
class Cutting:
    """A data set cut for one seed. `validation` is empty where a preset leaves nothing to validate on."""

    warm_rows: Flags  # [N] what trains
    known: Flags  # [n_entities] whose facts may be counted: not those who are cold
    validation: Chosen
    test: Chosen
    n_eligible: int
    n_ineligible: int
    ranked: Flags | None = None  # [n_partners] whom a training task ranks; None: everybody
    n_dropped: int = 0  # entities of the test slice that have no row to show, or none to ask for
    support_order: str = "random"
    frozen: Cutting | None = field(default=None, repr=False)  # `drift`: as it was before the first window, with this test


def rows_of(dataset: Dataset, entity: Ints) -> Rows:
    """All rows of the entities [T], each one's in the order of partners."""
    n = dataset.offset[entity + 1] - dataset.offset[entity]
    first = np.repeat(dataset.offset[entity] - (np.cumsum(n) - n), n)
    return Rows(first + np.arange(len(first)), n)


def met(dataset: Dataset, rows: Flags) -> Flags:
    """Which partners stand in one of `rows` [N]: [n_partners]."""
    found = np.zeros(len(dataset.items), dtype=bool)
    found[dataset.item[rows]] = True
    return found


def parted(rows: Rows, shown: Ints) -> tuple[Rows, Rows]:
    """The first `shown` [T] rows of each task, and the others."""
    first = rows.place() < np.repeat(shown, rows.n)
    return rows.where(first), rows.where(~first)


def by_hash(board: Board, dataset: Dataset, seed_index: int) -> Order:
    """An order of rows that depends on their ids and the seed alone."""
    seed = derive_seed(board.name, dataset.name, "support", seed_index)
    return lambda row: keyed_hash(seed, dataset.user[row], dataset.item[row])


def shuffled(rows: Rows, order: Order) -> Rows:
    """Each task's rows in the order that `order` gives."""
    return rows.sorted_by(order(rows.row))


def n_slices(n_eligible: int) -> int:
    """How many disjoint test slices a data set gives: 10, or 5 where few entities are eligible."""
    return 5 if n_eligible < SMALL else 10
