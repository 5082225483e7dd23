"""The value that every loader returns: ratings as columns, and what is known of each side."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
DENSE = 16  # ids spread over at most so many numbers each are looked up in a table
ROWS_AT_ONCE = 4_000_000  # so that what is copied beside a hundred million rows stays small, and sorting stays linear in them


@dataclass(frozen=True, eq=False)
class Words:
    """Published facts as words: categories, a brand, attributes. Which of them become features is decided by the cut."""

    index: Ints  # [M] index of the user or item
    word: Ints  # [M] index into vocabulary; no pair stands twice
    vocabulary: tuple[str, ...] = ()

    @classmethod
    def none(cls) -> Words:
        empty = np.zeros(0, dtype=np.int64)
        return cls(empty, empty)


@dataclass(frozen=True, eq=False)
class Side:
    """Users or items: their published ids and the facts that came with them.

    Blocks as in `contract.Features`; nothing here is computed from ratings.
    """

    ids: Ints  # [n] published ids, rising
    categorical: Ints  # [n, A], 0 = unknown
    categorical_sizes: tuple[int, ...]
    multi_hot: NDArray[np.float32]  # [n, M]
    dense: NDArray[np.float32]  # [n, D]
    text: tuple[str, ...] = ()  # one an id, or none at all
    words: Words = field(default_factory=Words.none)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def bare(cls, ids: Ints) -> Side:
        """A side of which nothing is known but the ids."""
        n = len(ids)
        none = np.zeros((n, 0), dtype=np.float32)
        return cls(ids, np.zeros((n, 0), dtype=np.int64), (), none, none)


@dataclass(frozen=True, eq=False)
class Tags:
    """Words that users gave to items. Whose words count is decided by the cut, not here."""

    user: Ints  # [N] index
    item: Ints  # [N] index
    word: Ints  # [N] index into words
    words: tuple[str, ...] = ()

    @classmethod
    def none(cls) -> Tags:
        empty = np.zeros(0, dtype=np.int64)
        return cls(empty, empty, empty)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns of one data set, sorted by user and then item; `check` has been passed."""

    name: str
    sha256: str
    user: Codes  # [N] index into users.ids
    item: Codes  # [N] index into items.ids
    rating: NDArray[np.float32]  # [N]
    time: Ints  # [N] seconds
    users: Side
    items: Side
    rating_range: tuple[float, float]
    tags: Tags = field(default_factory=Tags.none)
    synthetic: bool = False
    implicit: bool = False  # events only: every rating is 1 on the scale 0 to 1, and each row counts as relevant
    clock: bool = True  # times of different users can be compared; False where a file has an order alone
    repeats: int = 0  # rows that went because the user came back to the item: her last one stands
    domain: Ints | None = None  # [n items], 0 = target; None where there is one domain
    domains: tuple[str, ...] = ()  # their names
    cold_users: NDArray[np.bool_] | None = None  # [n users] in the split of a paper, where one was published with the data
    cold_items: NDArray[np.bool_] | None = None  # [n items]

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def offset(self) -> Ints:
        """User u's rows are offset[u] .. offset[u + 1] - 1: [n users + 1]."""
        # Looked up in the sorted column, with its own type: a count would need a copy of it.
        return np.searchsorted(self.user, np.arange(len(self.users) + 1, dtype=self.user.dtype)).astype(np.int64)

    def turned(self) -> Dataset:
        """The same rows with users and items exchanged, sorted by item and then user.

        Tags stay behind: what users say of an item is no more known beforehand than what they think of it.
        """
        order = np.lexsort((self.user, self.item))
        return replace(
            self,
            user=self.item[order],
            item=self.user[order],
            rating=self.rating[order],
            time=self.time[order],
            users=self.items,
            items=self.users,
            tags=Tags.none(),
            domain=None,
            domains=(),
            cold_users=self.cold_items,
            cold_items=self.cold_users,
        )


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
            codes = self._hashed.get_indexer(_pandas().Index(np.asarray(raw))).astype(np.int32)
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


def build(
    name: str,
    sha256: str,
    rows: tuple[Ints, Ints, NDArray[np.float32], Ints],
    sides: tuple[Side, Side],
    rating_range: tuple[float, float],
    tags: Tags | None = None,
) -> Dataset:
    """A checked data set from `rows` of published (user, item, rating, time) and both sides.

    Raises DataError for an empty file, a rating outside the scale and a (user, item) pair that
    stands twice.
    """
    raw_user, raw_item, rating, _ = rows
    low, high = rating_range
    if len(raw_user) == 0:
        raise DataError(f"'{name}' has no rating row; fetch the data set again")
    outside = ~((rating >= low) & (rating <= high))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"'{name}', rating row {row + 1}: rating {rating[row]:g} is outside the scale {low:g} to "
            f"{high:g} ({int(outside.sum())} such rows); mend the file or the scale in its loader"
        )
    users, items = sides
    user, item, ratings, times = _in_order(name, rows, users, items)
    again = np.flatnonzero((user[1:] == user[:-1]) & (item[1:] == item[:-1]))
    if len(again):
        pair = users.ids[user[again[0]]], items.ids[item[again[0]]]
        second = int(np.flatnonzero((raw_user == pair[0]) & (raw_item == pair[1]))[1])
        raise DataError(
            f"'{name}', rating row {second + 1}: user {pair[0]} rates item {pair[1]} a second "
            f"time ({len(again)} such rows); keep one row a pair"
        )
    return Dataset(name, sha256, user, item, ratings, times, users, items, rating_range, tags or Tags.none())


def _in_order(
    name: str, rows: tuple[Ints, Ints, NDArray[np.float32], Ints], users: Side, items: Side
) -> tuple[Codes, Codes, NDArray[np.float32], Ints]:
    """The rows coded, in the order of user and item.

    They are dealt into ranges of users first, run by run, and each range is sorted alone: no sort and no gather
    reaches over more memory than a processor keeps at hand, so that ten times the rows take ten times as long.
    """
    raw_user, raw_item, n = rows[0], rows[1], len(rows[0])
    code_user, code_item = Coder(name, "user", users.ids), Coder(name, "item", items.ids)
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
        deal = deal_of[coded[run]]
        order, count = np.argsort(deal, kind="stable"), np.bincount(deal, minlength=deals)  # of 16 bits: NumPy's radix sort
        place = np.repeat(free - (np.cumsum(count) - count), count) + np.arange(len(deal))
        item = code_item(raw_item[run], run.start)
        here: tuple[NDArray[Any], ...] = (coded[run], item, rows[2][run], rows[3][run])
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
