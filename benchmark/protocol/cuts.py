"""Cuts: who is cold.

`random`: the eligible entities are permuted once for a board and data set; seed i tests on the i-th
slice and validates on the next, so that the seeds' test sets are disjoint and their tasks add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import ProtocolError
from benchmark.protocol.seeds import derive_seed, permutation

QUERY_ROWS = 5  # an eligible entity has this many rows beyond the largest support
SMALL = 2_000  # with fewer eligible entities a slice is a fifth of them instead of a tenth
FEWEST_TASKS = 2  # a slice below this cannot be called a test set


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
