"""Cuts in the order of time: no row of the future is ever in training.

`arrival`: entities come in the order of their first row. The last fifth of them is cold, first seen at t0 or later;
its earlier half validates, its later half is tested (where there are few, the last fifth is tested and the tenth
before it validates). Rows before t0 train, rows of warm entities after it are dropped. The first k rows of a
cold entity are shown and strictly later ones asked for. Nothing is drawn, so all seeds ask the same tasks.

`windows` (track `drift`): the rows are cut at 60, 70, 80 and 90 % of their number. A task is an entity in one of
the four windows: all she had before it is withheld, the last k rows of that are shown, and those in the
window asked for. The world is fitted twice: on all rows before the window, and, frozen, on those before the first
one. Validation asks a third of the entities, drawn by their ids, for their rows in the tenth of the timeline before
the fit; those rows train nothing. Seed i asks window i mod 4.
"""

from __future__ import annotations

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.errors import ProtocolError
from benchmark.protocol.boards import WINDOWS, Board
from benchmark.protocol.cuts import FEWEST_TASKS, QUERY_ROWS, SMALL, Chosen, Cutting, Ints, Rows, by_hash, met, rows_of
from benchmark.protocol.seeds import derive_seed, keyed_hash

FIT_AT, WINDOW = 6, 1  # tenths of the rows
VALIDATES = 3  # `windows`: one entity of so many


def arrival(board: Board, dataset: Dataset, _: int) -> Cutting:
    """The entities that came last, their first rows shown and later ones asked for."""
    _check_clock(board, dataset)
    seen = np.flatnonzero(np.diff(dataset.offset) > 0)
    first = np.minimum.reduceat(dataset.time, dataset.offset[seen])
    came = np.lexsort((keyed_hash(derive_seed(board.name, dataset.name, "cut"), seen), first))
    n, small = len(seen), len(seen) < SMALL
    starts = (n - n // 5 - n // 10, n - n // 5) if small else (n - n // 5, n - n // 5 + n // 10)
    t0 = int(first[came[starts[0]]])
    validation, test = (_from_first(board, dataset, seen[came[part]]) for part in (slice(*starts), slice(starts[1], None)))
    cold = np.zeros(len(dataset.users), dtype=bool)
    cold[seen[came[starts[0] :]]] = True
    eligible, kept = int(cold.sum()), len(validation.entity) + len(test.entity)
    warm_rows = dataset.time < t0
    return Cutting(warm_rows, ~cold, validation, test, kept, eligible - kept, met(dataset, warm_rows), 0, "first")


def _from_first(board: Board, dataset: Dataset, entity: Ints) -> Chosen:
    """Pool: the first rows, and those of the same second as the last of them, which are not strictly later."""
    rows = rows_of(dataset, entity)
    rows = _by_time(rows, dataset, by_hash(board, dataset, 0)(rows.row))
    most = max(board.shots)
    able = np.repeat(rows.n >= most + QUERY_ROWS, rows.n)
    rows, entity = rows.where(able), entity[rows.n >= most + QUERY_ROWS]
    rows = Rows(rows.row, rows.n[rows.n > 0])
    last = dataset.time[rows.row[np.cumsum(rows.n) - rows.n + most - 1]]
    later = dataset.time[rows.row] > np.repeat(last, rows.n)
    return Chosen(entity, rows.where(~later), rows.where(later)).with_query(QUERY_ROWS)


def windows(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """One window: refitted before it, and frozen as before the first."""
    _check_clock(board, dataset)
    window = seed_index % WINDOWS
    edges = _edges(dataset)
    start, end = edges[FIT_AT + window * WINDOW], edges[FIT_AT + (window + 1) * WINDOW]
    everyone = np.arange(len(dataset.users), dtype=np.int64)
    test = _last_before(board, dataset, everyone, start, end)
    frozen = None if window == 0 else _fit(board, dataset, edges, 0, test)
    return _fit(board, dataset, edges, window, test, frozen)


def _fit(board: Board, dataset: Dataset, edges: list[int], window: int, test: Chosen, frozen: Cutting | None = None) -> Cutting:
    """What trains before window `window`, and what validates there."""
    before, fit = edges[FIT_AT + (window - 1) * WINDOW], edges[FIT_AT + window * WINDOW]
    everyone = np.arange(len(dataset.users), dtype=np.int64)
    asked = keyed_hash(derive_seed(board.name, dataset.name, "validates"), everyone) % np.uint64(VALIDATES) == 0
    validation = _last_before(board, dataset, everyone[asked], before, fit)
    if len(validation.entity) < FEWEST_TASKS:
        raise ProtocolError(
            f"board '{board.name}' on '{dataset.name}': {len(validation.entity)} validation tasks before window {window + 1}, where "
            f"{FEWEST_TASKS} are wanted; trim the board's shots for it"
        )
    # Who had no row by then was not there to be ranked when the fit was made.
    there = met(dataset, dataset.time < fit)
    warm_rows = dataset.time < fit
    warm_rows[validation.query.row] = False
    known = np.ones(len(dataset.users), dtype=bool)
    absent = int(np.sum(np.diff(dataset.offset) > 0)) - len(test.entity)
    return Cutting(warm_rows, known, validation, test, len(test.entity), absent, there, 0, "last", frozen)


def _edges(dataset: Dataset) -> list[int]:
    """The times at which 0, 1 .. 10 tenths of the rows are over."""
    time = np.sort(dataset.time)
    return [int(time[len(time) * tenth // 10]) for tenth in range(10)] + [int(time[-1]) + 1]


def _last_before(board: Board, dataset: Dataset, entity: Ints, start: int, end: int) -> Chosen:
    """Entities with enough rows before `start` and from there to `end`; the pool is all of the former, newest first."""
    rows = rows_of(dataset, entity)
    time = dataset.time[rows.row]
    past = rows.where(time < start)
    newest = _by_time(past, dataset, by_hash(board, dataset, 0)(past.row), newest_first=True)
    found = Chosen(entity, newest, rows.where((time >= start) & (time < end)))
    return found.of(found.pool.n >= max(board.shots)).with_query(QUERY_ROWS)


def _by_time(rows: Rows, dataset: Dataset, ties: np.ndarray, newest_first: bool = False) -> Rows:
    time = dataset.time[rows.row]
    return Rows(rows.row[np.lexsort((ties, -time if newest_first else time, rows.task()))], rows.n)


def _check_clock(board: Board, dataset: Dataset) -> None:
    if not dataset.clock:
        raise ProtocolError(f"board '{board.name}' needs time stamps, and '{dataset.name}' tells the order of each user's rows alone")
