"""What others derived from Amazon 2014: sequences of one category, and pairs of categories whose users are the same.

Events without ratings: each row is a 1 on the scale 0 to 1. As in `amazon`, a loader takes {path in a data folder: the file},
and whoever calls it writes the data set's name and hash on the result.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.data.amazon import last, seconds
from benchmark.data.checking import plain
from benchmark.data.coding import Ints
from benchmark.data.dataset import Dataset, Side, Words, build
from benchmark.data.reading import lines
from benchmark.errors import DataError

SCALE = (0.0, 1.0)
DOMAINS = {"abe": ("beauty", "electronics"), "afk": ("food", "kitchen")}  # folder -> what 0 and 1 mean in its map of items


def sequences(files: Mapping[str, Path]) -> Dataset:
    """A line is `user item item ...`, oldest first; {item: [attribute, ...]} beside it. The time is the place in it."""
    path, attributes = _parts(files, "_item2attributes")
    with lines(path) as text:
        user, (item,), place = _events(path, text, " ")
    return replace(_build(path, user, item, place, attributes=_json(attributes)), clock=False)


def into_first(files: Mapping[str, Path]) -> Dataset:
    return _pair(files, target=0)


def into_second(files: Mapping[str, Path]) -> Dataset:
    return _pair(files, target=1)


def first(files: Mapping[str, Path]) -> Dataset:
    return _pair(files, only=0)


def second(files: Mapping[str, Path]) -> Dataset:
    return _pair(files, only=1)


def _pair(files: Mapping[str, Path], target: int = 0, only: int | None = None) -> Dataset:
    """A line is `user item|time item|time ...`; {asin: [item, domain]}. Both domains, one of them the target, or `only` one."""
    path, mapped = _parts(files, "map_item")
    with lines(path) as text:
        user, (item, time), _ = _events(path, text, "|")
    try:
        known = np.array(list(_json(mapped).values()), dtype=np.int64).reshape(-1, 2)
    except ValueError as error:
        raise DataError(f"{mapped.name} is no map to pairs of numbers ({error}); put the published file there again") from None
    domain_of = np.full(max(int(known[:, 0].max()), int(item.max())) + 1, -1)
    domain_of[known[:, 0]] = known[:, 1]
    domain = domain_of[item]
    if not np.isin(domain, (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(domain, (0, 1)))[0])
        raise DataError(
            f"{path.name}: item {item[row]} of user {user[row]} has no domain in {mapped.name}; the files do not belong together"
        )
    time = seconds(path.name, time)
    if only is not None:
        keep = domain == only
        return _build(path, user[keep], item[keep], time[keep])
    made = _build(path, user, item, time)
    names = DOMAINS[next(Path(name).parent.name for name in files)]
    return replace(made, domain=(domain_of[made.items.ids] != target).astype(np.int64), domains=(names[target], names[1 - target]))


def _parts(files: Mapping[str, Path], beside: str) -> tuple[Path, Path]:
    """The file of events, and the one whose name holds `beside`."""
    (other,) = (path for name, path in files.items() if beside in name)
    (events,) = (path for path in files.values() if path != other)
    return events, other


def _json(path: Path) -> dict[str, Any]:
    try:
        with plain(path) as opened:
            found = json.load(opened)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read as JSON ({error}); put the published file there again") from None
    if not isinstance(found, dict) or not found:
        raise DataError(f"{path.name} holds no map; put the published file there again")
    return found


def _events(path: Path, text: pa.ChunkedArray, inside: str) -> tuple[Ints, list[Ints], Ints]:
    """Users [N], the parts of their events, each [N], and the place of an event in its line [N].

    `inside` separates the parts of one event; a space where an event has one part.
    """
    parts = 1 if inside == " " else 2
    flat = pc.replace_substring(text, inside, " ")
    counts = pc.count_substring(flat, " ").to_numpy()
    try:
        numbers = np.array(" ".join(flat.to_pylist()).split(), dtype=np.str_).astype(np.int64)
    except ValueError as error:
        raise DataError(f"{path.name} holds what is no number ({error}); put the published file there again") from None
    if len(counts) == 0 or len(numbers) != int(counts.sum()) + len(counts) or (counts % parts).any():
        raise DataError(f"{path.name} is not lines of 'user item{' ' if parts == 1 else '|time '}...'; put the published file there again")
    starts = np.concatenate([[0], np.cumsum(counts + 1)[:-1]])
    events = counts // parts
    values = np.delete(numbers, starts).reshape(-1, parts)
    place = np.arange(len(values)) - np.repeat(np.cumsum(events) - events, events)
    return np.repeat(numbers[starts], events), [np.ascontiguousarray(values[:, i]) for i in range(parts)], place


def _build(path: Path, user: Ints, item: Ints, time: Ints, attributes: Mapping[str, list[int]] | None = None) -> Dataset:
    """The last event of each pair, as a 1."""
    kept = last(user, item, time)
    items = Side.bare(np.unique(item))
    if attributes is not None:
        items = replace(items, words=_words(items.ids, attributes))
    rows = (user[kept], item[kept], np.ones(len(kept), dtype=np.float32), time[kept])
    made = build(path.name, "", rows, (Side.bare(np.unique(user)), items), SCALE)
    return replace(made, implicit=True, repeats=len(user) - len(kept))


def _words(ids: Ints, attributes: Mapping[str, list[int]]) -> Words:
    """The attributes of the rated items; each (item, attribute) once."""
    items = np.repeat(np.array(list(attributes), dtype=np.int64), [len(some) for some in attributes.values()])
    named = np.concatenate([np.array(some, dtype=np.int64) for some in attributes.values()])
    rated = np.isin(items, ids)
    vocabulary, word = np.unique(named[rated], return_inverse=True)
    pairs = np.unique(np.stack([np.searchsorted(ids, items[rated]), word], axis=1), axis=0)
    return Words(pairs[:, 0].copy(), pairs[:, 1].copy(), tuple(f"attribute: {one}" for one in vocabulary.tolist()))
