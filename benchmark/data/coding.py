"""Published ids to indices, and rows into order: linear in the rows, and with little copied beside them."""

from __future__ import annotations

import itertools
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
DENSE = 16  # ids spread over at most so many numbers each are looked up in a table
ROWS_AT_ONCE = 4_000_000  # so that what is copied beside a hundred million rows stays small, and sorting stays linear in them


class Coder:
    """Published ids to indices into the list of them, in time linear in the rows: by a table where ids are dense, else by hashing."""

    def __init__(self, name: str, column: str, ids: Ints) -> None:
        self._name, self._column, self._ids = name, column, ids
        self._low, span = int(ids[0]), int(ids[-1]) - int(ids[0]) + 1
        self._table = np.full(span, -1, dtype=np.int32) if span <= DENSE * len(ids) else None
        if self._table is not None:
            self._table[ids - self._low] = np.arange(len(ids), dtype=np.int32)
        else:
            self._hashed = _pandas().Index(ids)

    def __call__(self, raw: NDArray[Any], first: int = 0) -> Codes:
        """The indices of `raw` [N], before which `first` rows come; a DataError names the first unknown id."""
        if self._table is None:
            codes: Codes = self._hashed.get_indexer(_pandas().Index(np.asarray(raw))).astype(np.int32)
        else:
            place = np.asarray(raw) - self._low
            inside = (place >= 0) & (place < len(self._table))
            codes = self._table[place] if inside.all() else np.where(inside, self._table[np.where(inside, place, 0)], -1).astype(np.int32)
        if codes.min(initial=0) < 0:
            row = int(np.flatnonzero(codes < 0)[0])
            raise DataError(
                f"'{self._name}', rating row {first + row + 1}: {self._column} {raw[row]} is not in the list of {self._column}s; "
                "the files do not belong together, fetch the data set again"
            )
        return codes


def distinct(raw: NDArray[Any]) -> Ints:
    """The distinct ids of a column [N], rising."""
    if not len(raw):
        return np.zeros(0, dtype=np.int64)
    low, high = int(raw.min()), int(raw.max())
    if high - low <= len(raw):
        seen = np.zeros(high - low + 1, dtype=bool)
        for run in _runs(len(raw)):
            seen[raw[run] - low] = True
        return np.flatnonzero(seen) + low
    return np.unique(np.concatenate([_pandas().unique(np.asarray(raw[run])) for run in _runs(len(raw))])).astype(np.int64)


def _pandas() -> Any:
    """Its hash tables, where data is built; to list what there is must not cost its import."""
    return import_module("pandas")


def _runs(n: int) -> list[slice]:
    return [slice(start, min(n, start + ROWS_AT_ONCE)) for start in range(0, n, ROWS_AT_ONCE)]


def in_order(
    name: str, rows: tuple[Ints, Ints, NDArray[np.float32], Ints], users: Ints, items: Ints
) -> tuple[Codes, Codes, NDArray[np.float32], Ints]:
    """The rows (user, item, rating, time) with published ids coded by the lists `users` and `items`, in the order of user and item.

    They are dealt into ranges of users first, run by run, and each range is sorted alone: no sort and no gather
    reaches over more memory than a processor keeps at hand, so that ten times the rows take ten times as long.
    """
    raw_user, raw_item, n = rows[0], rows[1], len(rows[0])
    code_user, code_item = Coder(name, "user", users), Coder(name, "item", items)
    deals = max(1, min(2**15, n // ROWS_AT_ONCE))
    deal_of = (np.arange(len(users), dtype=np.int64) * deals // len(users)).astype(np.int16)
    size = np.zeros(deals, dtype=np.int64)
    coded = np.empty(n, dtype=np.int32)
    for run in _runs(n):
        coded[run] = code_user(raw_user[run], run.start)
        size += np.bincount(deal_of[coded[run]], minlength=deals)
    found = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, np.int64)
    columns: tuple[NDArray[Any], ...] = found
    free = np.cumsum(size) - size  # where the next row of each deal goes
    for run in _runs(n):
        here: tuple[NDArray[Any], ...] = (coded[run], code_item(raw_item[run], run.start), rows[2][run], rows[3][run])
        if deals == 1:
            for column, given in zip(columns, here, strict=True):
                column[run] = given
            continue
        deal = deal_of[coded[run]]
        order, count = np.argsort(deal, kind="stable"), np.bincount(deal, minlength=deals)  # of 16 bits: NumPy's radix sort
        place = np.repeat(free - (np.cumsum(count) - count), count) + np.arange(len(deal))
        for column, given in zip(columns, here, strict=True):
            column[place] = given[order]
        free += count
    del coded
    for start, stop in itertools.pairwise([0, *np.cumsum(size).tolist()]):
        part = slice(start, stop)
        order = np.argsort(found[0][part].astype(np.int64) * len(items) + found[1][part], kind="stable")
        for column in columns:
            column[part] = column[part][order]
    return found
