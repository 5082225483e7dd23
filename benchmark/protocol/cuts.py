"""Cuts: who is asked, which rows are shown and which train.

`random`: the eligible entities are permuted once for a board and data set; seed i tests on the i-th
slice and validates on the next, so that the seeds' test sets are disjoint and their tasks add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.errors import ProtocolError
from benchmark.protocol.boards import Board
from benchmark.protocol.seeds import derive_seed, keyed_hash, permutation

QUERY_ROWS = 5  # an eligible entity has this many rows beyond the largest support
SMALL = 2_000  # with fewer eligible entities a slice is a fifth of them instead of a tenth
FEWEST_TASKS = 2  # a slice below this cannot be called a test set


Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Chosen:
    """Entities to make tasks of, and their rows: first those of the pool, in the order in which they are shown, then the query."""

    entity: Ints  # [T] in the order of the tasks
    row: Ints  # [M] rows of the data set, grouped by task
    n_rows: Ints  # [T]
    n_shown: Ints  # [T] of them lie in the pool


@dataclass(frozen=True, eq=False)
class Cutting:
    """A data set cut for one seed. `validation` is empty where a preset leaves nothing to validate on."""

    warm_rows: NDArray[np.bool_]  # [N] what trains
    known: NDArray[np.bool_]  # [n_entities] whose facts may be counted: not those who are cold
    validation: Chosen
    test: Chosen
    n_eligible: int
    n_ineligible: int


def chosen(dataset: Dataset, entity: Ints, eligible: NDArray[np.bool_], order: NDArray[np.uint64], shown: Ints) -> Chosen:
    """Tasks of `entity` [T] from the rows that `eligible` [N] allows, sorted by `order` [N]; the first `shown` [T] are the pool."""
    place = np.full(len(dataset.users), -1, dtype=np.int64)
    place[entity] = np.arange(len(entity))
    row = np.flatnonzero(eligible & (place[dataset.user] >= 0))
    row = row[np.lexsort((order[row], place[dataset.user[row]]))]
    return Chosen(entity, row, np.bincount(place[dataset.user[row]], minlength=len(entity)), shown)


def by_hash(board: Board, dataset: Dataset, seed_index: int) -> NDArray[np.uint64]:
    """An order of all rows [N] that depends on their ids and the seed alone."""
    return keyed_hash(derive_seed(board.name, dataset.name, "support", seed_index), dataset.user, dataset.item)


def random_rows(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """Cut `random`: cold entities are in no training row, and a seeded permutation of their rows is shown."""
    parts = random_cut(board.name, dataset.name, np.bincount(dataset.user, minlength=len(dataset.users)), board.shots, seed_index)
    cold = np.zeros(len(dataset.users), dtype=bool)
    cold[parts.validation] = cold[parts.test] = True
    every, order = np.ones(len(dataset), dtype=bool), by_hash(board, dataset, seed_index)
    validation, test = (
        chosen(dataset, one, every, order, np.full(len(one), max(board.shots), dtype=np.int64)) for one in (parts.validation, parts.test)
    )
    return Cutting(~cold[dataset.user], ~cold, validation, test, parts.n_eligible, parts.n_ineligible)


@dataclass(frozen=True)
class Cut:
    """Warm entities are all that are in neither slice, the ineligible ones included."""

    validation: NDArray[np.int64]  # entity ids in the order of the permutation
    test: NDArray[np.int64]
    n_eligible: int
    n_ineligible: int


def random_cut(board: str, dataset: str, rows: NDArray[np.int64], shots: tuple[int, ...], seed_index: int) -> Cut:
    """The validation and test entities of one seed.

    `rows` [n_entities] counts each entity's rows. Raises ProtocolError where the data set is too
    small for these shots or has fewer slices than the seed asks for.
    """
    need = max(shots) + QUERY_ROWS
    eligible = np.flatnonzero(rows >= need).astype(np.int64)
    slices = n_slices(len(eligible))
    if len(eligible) < slices * FEWEST_TASKS:
        raise ProtocolError(
            f"board '{board}' needs entities with {need} rows or more (its {max(shots)} shots and "
            f"{QUERY_ROWS} to ask about), and '{dataset}' has {len(eligible)} of them where "
            f"{slices * FEWEST_TASKS} are wanted; trim the board's shots for it"
        )
    if not 0 <= seed_index < slices:
        raise ProtocolError(
            f"board '{board}' on '{dataset}' has seeds 0 to {slices - 1} (disjoint test slices), not {seed_index}; ask for fewer seeds"
        )
    order = permutation(derive_seed(board, dataset, "cut"), eligible)
    part = np.array_split(order, slices)
    return Cut(
        validation=part[(seed_index + 1) % slices],
        test=part[seed_index],
        n_eligible=len(eligible),
        n_ineligible=int((rows < need).sum()),
    )


def n_slices(n_eligible: int) -> int:
    """How many disjoint test slices a data set gives: 10, or 5 where few entities are eligible."""
    return 5 if n_eligible < SMALL else 10
