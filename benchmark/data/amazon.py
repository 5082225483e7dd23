"""Amazon reviews of 2014, 2018 and 2023: who rated what, how and when, and what is published of the items.

A loader takes {path in a data folder: the file}; the file whose name begins with "meta_" tells of the items, where there is
one. Ids are texts: sorted, they become 0 to n - 1. The catalogue of items is the rated ones. Whoever rates an item again
means the last rating. Errors name the file; whoever calls the loader writes the data set's name and hash on the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.amazon_metadata import FIELDS_2018, FIELDS_2023, Fields, items
from benchmark.data.coding import Ints
from benchmark.data.dataset import Dataset, Side, build
from benchmark.data.reading import codes, comma_separated, json_lines
from benchmark.errors import DataError

SCALE = (1.0, 5.0)
MILLISECONDS = 100_000_000_000  # no second that large before the year 5138, no millisecond that small since 1973
_KINDS = {"user": "string", "item": "string", "rating": "float64", "time": "int64"}


def ratings_2018(files: Mapping[str, Path]) -> Dataset:
    """item,user,rating,time without a header."""
    path, metadata = _parts(files)
    with comma_separated(path, {name: _KINDS[name] for name in ("item", "user", "rating", "time")}, header=False) as table:
        return dataset(path, table, metadata, FIELDS_2018)


def ratings_2023(files: Mapping[str, Path]) -> Dataset:
    """user_id,parent_asin,rating,timestamp, in milliseconds."""
    path, metadata = _parts(files)
    names = {"user_id": "user", "parent_asin": "item", "rating": "rating", "timestamp": "time"}
    with comma_separated(path, {name: _KINDS[meant] for name, meant in names.items()}, header=True) as table:
        return dataset(path, table.rename_columns(names), metadata, FIELDS_2023)


def video_games(files: Mapping[str, Path]) -> Dataset:
    """itemID,rating,userID,timestamp with numbers for ids."""
    path, metadata = _parts(files)
    names = {"itemID": "item", "rating": "rating", "userID": "user", "timestamp": "time"}
    kinds = {**_KINDS, "item": "int64", "user": "int64"}
    with comma_separated(path, {name: kinds[meant] for name, meant in names.items()}, header=True) as table:
        return dataset(path, table.rename_columns(names), metadata, FIELDS_2018)


def reviews(files: Mapping[str, Path]) -> Dataset:
    """One JSON object a line, of 2014 or 2018: reviewerID, asin, overall, unixReviewTime and a text that is not read."""
    path, metadata = _parts(files)
    names = {"reviewerID": "user", "asin": "item", "overall": "rating", "unixReviewTime": "time"}
    kinds = {"reviewerID": pa.string(), "asin": pa.string(), "overall": pa.float64(), "unixReviewTime": pa.int64()}
    with json_lines(path, kinds) as tables:
        table = pa.concat_tables(tables)
    for name in names:
        if table.column(name).null_count:
            row = int(np.flatnonzero(table.column(name).is_null().to_numpy())[0])
            raise DataError(f"{path.name}, row {row + 1} has no {name}; put the published file there again")
    return dataset(path, table.rename_columns(names), metadata, FIELDS_2018)


def _parts(files: Mapping[str, Path]) -> tuple[Path, Path | None]:
    """The file of ratings, and the one of metadata."""
    metadata = [path for name, path in files.items() if Path(name).name.startswith("meta_")]
    (ratings,) = (path for path in files.values() if path not in metadata)
    return ratings, metadata[0] if metadata else None


def dataset(path: Path, table: pa.Table, metadata: Path | None, fields: Fields) -> Dataset:
    """The columns user, item, rating and time of a table as a data set, each pair once."""
    if table.num_rows == 0:
        raise DataError(f"{path.name} has no rating row; put the published file there again, or leave the category out")
    (user, user_ids), (item, item_ids) = codes(table.column("user")), codes(table.column("item"))
    for name, index, ids in (("user", user, user_ids), ("item", item, item_ids)):
        if ids[0].as_py() == "":  # ids are sorted
            row = int(np.flatnonzero(index == 0)[0])
            raise DataError(f"{path.name}, rating row {row + 1} names no {name}; put the published file there again")
    time = seconds(path.name, table.column("time").to_numpy())
    rows = (user, item, table.column("rating").to_numpy().astype(np.float32), time)
    kept = last(user, item, time)
    sides = (Side.bare(np.arange(len(user_ids))), items(item_ids, metadata, fields))
    made = build(path.name, "", (rows[0][kept], rows[1][kept], rows[2][kept], rows[3][kept]), sides, SCALE)
    return replace(made, repeats=len(user) - len(kept))


def seconds(file: str, time: Ints) -> Ints:
    """Times in seconds, whether they came so or in milliseconds; a DataError where they came as both, or as neither."""
    large = time > MILLISECONDS
    if not large.any():
        return time
    converted = time // 1000
    if not large.all() or (converted > MILLISECONDS).any():
        row = int(np.flatnonzero(large != large[0])[0]) if not large.all() else int(np.argmax(time))
        raise DataError(
            f"{file}, row {row + 1}: time {time[row]} beside {time[0]} in row 1: neither all seconds nor all milliseconds; "
            "put the published file there again"
        )
    return converted


def last(user: Ints, item: Ints, time: Ints) -> NDArray[np.intp]:
    """Rows that stay, in file order: the latest of each (user, item), and of those of one time the last in the file."""
    order = np.lexsort((time, item, user))
    ends = np.ones(len(order), dtype=bool)
    ends[:-1] = (np.diff(user[order]) != 0) | (np.diff(item[order]) != 0)
    return np.sort(order[ends])
