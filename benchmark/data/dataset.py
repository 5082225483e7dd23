"""The value that every loader returns: ratings as columns, and what is known of each side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.coding import Codes, Ints, in_order
from benchmark.errors import DataError


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
    user, item, ratings, times = in_order(name, rows, users.ids, items.ids)
    again = np.flatnonzero((user[1:] == user[:-1]) & (item[1:] == item[:-1]))
    if len(again):
        pair = users.ids[user[again[0]]], items.ids[item[again[0]]]
        second = int(np.flatnonzero((raw_user == pair[0]) & (raw_item == pair[1]))[1])
        raise DataError(
            f"'{name}', rating row {second + 1}: user {pair[0]} rates item {pair[1]} a second "
            f"time ({len(again)} such rows); keep one row a pair"
        )
    return Dataset(name, sha256, user, item, ratings, times, users, items, rating_range, tags or Tags.none())
