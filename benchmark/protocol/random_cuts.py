"""The cut `random`, for the tracks that have it.

The eligible entities are permuted once for a board and data set; seed i tests on the i-th slice and validates on
the next, so that the seeds' test sets are disjoint and their tasks add up. A slice is a tenth of them, or a fifth
where few are eligible. What is shown is a seeded permutation of an entity's rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.errors import ProtocolError
from benchmark.protocol.boards import Board
from benchmark.protocol.cuts import (
    FEWEST_TASKS,
    QUERY_ROWS,
    Chosen,
    Cutting,
    Flags,
    Ints,
    by_hash,
    met,
    n_slices,
    parted,
    rows_of,
    shuffled,
)
from benchmark.protocol.seeds import derive_seed, permutation

HELD_OUT = 5  # `warm`: one row of so many is asked for
COLD_ITEMS, VALIDATION_ITEMS = 5, 10  # `both`: one item of so many is cold in the test; another one in the validation


def random_rows(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """Tracks `user` and `item`: cold entities are in no training row, and a seeded permutation of their rows is shown.

    Where the entities are items, the partners are the users with a training row: nothing else is known of users.
    """
    parts = random_cut(board, dataset, np.diff(dataset.offset), seed_index)
    warm_rows, known = _without(dataset, parts)
    partners = met(dataset, warm_rows) if board.track == "item" else None

    def chosen(entity: Ints) -> Chosen:
        rows = rows_of(dataset, entity)
        rows = rows if partners is None else rows.where(partners[dataset.item[rows.row]])
        pool, query = parted(shuffled(rows, by_hash(board, dataset, seed_index)), _most(board, entity))
        return Chosen(entity, pool, query, candidate=partners).with_query()

    validation, test = chosen(parts.validation), chosen(parts.test)
    dropped = len(parts.test) - len(test.entity)
    return Cutting(warm_rows, known, validation, test, parts.n_eligible, parts.n_ineligible, partners, dropped)


def new_partners(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """Track `both`: new users are shown items of which nothing is held back, and asked for items that nobody has met.

    A fifth of the items, drawn for the seed, is cold in the test, and another tenth in the validation: had both
    the same, what was chosen on the one would know the other's items.
    """
    parts = random_cut(board, dataset, np.diff(dataset.offset), seed_index)
    warm_rows, known = _without(dataset, parts)
    n = len(dataset.items)
    drawn = permutation(derive_seed(board.name, dataset.name, "cold partners", seed_index), np.arange(n, dtype=np.int64))
    lot = np.zeros(n, dtype=np.int64)  # 0: trains, 1: cold in the test, 2: in the validation
    lot[drawn[: n // COLD_ITEMS]] = 1
    lot[drawn[n // COLD_ITEMS : n // COLD_ITEMS + n // VALIDATION_ITEMS]] = 2
    order = by_hash(board, dataset, seed_index)

    def chosen(entity: Ints, cold: int) -> Chosen:
        rows = shuffled(rows_of(dataset, entity), order)
        old, new = (rows.where(lot[dataset.item[rows.row]] == one) for one in (0, cold))
        most = max(board.shots)
        pool = old.where(old.place() < most)
        return Chosen(entity, pool, new, candidate=lot == cold).of(pool.n == most).with_query()

    warm_rows = warm_rows & (lot == 0)[dataset.item]
    validation, test = chosen(parts.validation, 2), chosen(parts.test, 1)
    dropped = len(parts.test) - len(test.entity)
    return Cutting(warm_rows, known, validation, test, parts.n_eligible, parts.n_ineligible, lot == 0, dropped)


def held_out_rows(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """Track `warm`: a fifth of a known entity's rows (5 or more) is asked for; the others train, and are her support."""
    parts = random_cut(board, dataset, np.diff(dataset.offset), seed_index, least=2 * QUERY_ROWS)
    order = by_hash(board, dataset, seed_index)

    def chosen(entity: Ints) -> Chosen:
        rows = shuffled(rows_of(dataset, entity), order)
        return Chosen(entity, *parted(rows, rows.n - np.maximum(rows.n // HELD_OUT, QUERY_ROWS)))

    validation, test = chosen(parts.validation), chosen(parts.test)
    warm_rows = np.ones(len(dataset), dtype=bool)
    for one in (validation, test):
        warm_rows[one.query.row] = False
    known = np.ones(len(dataset.users), dtype=bool)
    return Cutting(warm_rows, known, validation, test, parts.n_eligible, parts.n_ineligible)


def other_domain(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """Track `cross-domain`: users new to the target domain, with all that they have done in the source; only the target is ranked."""
    if dataset.domain is None:
        raise ProtocolError(f"board '{board.name}' needs a data set of two domains, and '{dataset.name}' has one")
    target = dataset.domain == 0
    counts = np.bincount(dataset.user[target[dataset.item]], minlength=len(dataset.users))
    parts = random_cut(board, dataset, counts, seed_index)
    warm_rows, known = _without(dataset, parts)
    order = by_hash(board, dataset, seed_index)

    def chosen(entity: Ints) -> Chosen:
        rows = rows_of(dataset, entity)
        inside = target[dataset.item[rows.row]]
        pool, query = parted(shuffled(rows.where(inside), order), _most(board, entity))
        return Chosen(entity, pool, query, rows.where(~inside), target)

    return Cutting(warm_rows, known, chosen(parts.validation), chosen(parts.test), parts.n_eligible, parts.n_ineligible, target)


def _most(board: Board, entity: Ints) -> Ints:
    return np.full(len(entity), max(board.shots), dtype=np.int64)


def _without(dataset: Dataset, parts: Cut) -> tuple[Flags, Flags]:
    """The rows [N] of warm entities, and who is warm [n_entities]."""
    known = np.ones(len(dataset.users), dtype=bool)
    known[parts.validation] = known[parts.test] = False
    return known[dataset.user], known


@dataclass(frozen=True)
class Cut:
    """Warm entities are all that are in neither slice, the ineligible ones included."""

    validation: NDArray[np.int64]  # entity ids in the order of the permutation
    test: NDArray[np.int64]
    n_eligible: int
    n_ineligible: int


def random_cut(board: Board, dataset: Dataset, rows: Ints, seed_index: int, least: int | None = None) -> Cut:
    """The validation and test entities of one seed.

    `rows` [n_entities] counts each entity's rows, of which an eligible one has `least` (the largest support and
    5, where nothing else is said). Raises ProtocolError where the data set is too small for these shots or has
    fewer slices than the seed asks for.
    """
    need = least or max(board.shots) + QUERY_ROWS
    eligible = np.flatnonzero(rows >= need).astype(np.int64)
    slices = n_slices(len(eligible))
    if len(eligible) < slices * FEWEST_TASKS:
        shown = "" if least else f" (its {max(board.shots)} shots and {QUERY_ROWS} to ask about)"
        raise ProtocolError(
            f"board '{board.name}' needs entities with {need} rows or more{shown}, and '{dataset.name}' has {len(eligible)} of them "
            f"where {slices * FEWEST_TASKS} are wanted; trim the board's shots for it"
        )
    if not 0 <= seed_index < slices:
        raise ProtocolError(
            f"board '{board.name}' on '{dataset.name}' has seeds 0 to {slices - 1} (disjoint test slices), not {seed_index}; "
            "ask for fewer seeds"
        )
    part = np.array_split(permutation(derive_seed(board.name, dataset.name, "cut"), eligible), slices)
    return Cut(part[(seed_index + 1) % slices], part[seed_index], len(eligible), len(rows) - len(eligible))
