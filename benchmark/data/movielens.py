"""MovieLens latest-small, 100K, 1M, 25M and 32M: the published files to columns.

A loader takes {member: path}; whoever calls it has checked the files, and writes the data set's hash on the result.

Facts used: genres and the year in the title (items); gender, age, occupation and the first digit of
the zip code (users, 100K and 1M); tags (latest-small, 25M and 32M). The catalogue of items is the whole file of
movies, rated or not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.data.checking import plain
from benchmark.data.coding import Ints
from benchmark.data.dataset import Dataset, Side, Tags, build
from benchmark.errors import DataError

DECADES = 12  # 1910s and before .. 2010s and after, 0 = no year in the title
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
AGES = np.array([0, 18, 25, 35, 45, 50, 56])  # the groups that ML-1M publishes


def latest_small(files: Mapping[str, Path]) -> Dataset:
    return _comma_separated("ml-latest-small", files)


def ml_25m(files: Mapping[str, Path]) -> Dataset:
    return _comma_separated("ml-25m", files)


def ml_32m(files: Mapping[str, Path]) -> Dataset:
    return _comma_separated("ml-32m", files)


def _comma_separated(name: str, files: Mapping[str, Path]) -> Dataset:
    """Commas and a header; ratings 0.5 to 5 in halves."""
    movies = _read(name, files, "movies.csv", ["movieId", "title", "genres"])
    items = _items(movies["movieId"], movies["title"], movies["genres"].str.get_dummies("|"))
    ratings = _read(name, files, "ratings.csv", ["userId", "movieId", "rating", "timestamp"])
    rows = _rows(name, ratings, ["userId", "movieId", "rating", "timestamp"])
    del ratings
    users = Side.bare(np.unique(rows[0]))
    tags = _tags(_read(name, files, "tags.csv", ["userId", "movieId", "tag", "timestamp"]), users, items)
    return build(name, "", rows, (users, items), (0.5, 5.0), tags)


def ml_1m(files: Mapping[str, Path]) -> Dataset:
    """`::` between fields, ISO-8859-1, no header; ratings 1 to 5."""
    name = "ml-1m"
    # A one-character separator keeps pandas on its C engine; every second column is then empty.
    ratings = _read(name, files, "ratings.dat", list("umrt"), sep=":", usecols=[0, 2, 4, 6])
    users = _read(name, files, "users.dat", ["id", "gender", "age", "job", "zip"], sep=":", usecols=[0, 2, 4, 6, 8])
    # Titles hold colons, so this small file is split as text.
    lines = pd.Series(files["ml-1m/movies.dat"].read_text("iso-8859-1").splitlines())
    movies = lines.str.split("::", expand=True)
    items = _items(movies[0], movies[1], movies[2].str.get_dummies("|"))
    return build(name, "", _rows(name, ratings, list("umrt")), (_users(users), items), (1.0, 5.0))


def ml_1m_melu(files: Mapping[str, Path]) -> Dataset:
    """ML-1M and who is cold in MeLU's split: the users of one of its files, and the films of 1998 and later."""
    dataset = ml_1m(files)
    with plain(files["melu-ml-1m/user_cold_state.json"]) as opened:
        published = json.load(opened)
    cold = np.isin(dataset.users.ids, np.array([int(user) for user in published], dtype=np.int64))
    # `dense` holds (year - 1980) / 20; a film without a year is not new.
    year = np.rint(dataset.items.dense[:, 0] * 20 + 1980)
    return replace(dataset, name="ml-1m-melu", cold_users=cold, cold_items=year >= 1998)


def ml_100k(files: Mapping[str, Path]) -> Dataset:
    """Tabs in u.data, bars in u.item (with 19 genre flags) and u.user; ratings 1 to 5."""
    name = "ml-100k"
    ratings = _read(name, files, "u.data", list("umrt"), sep="\t")
    users = _read(name, files, "u.user", ["id", "age", "gender", "job", "zip"], sep="|")
    columns = ["id", "title", "date", "video", "url", *GENRES_100K]
    movies = _read(name, files, "u.item", columns, sep="|", encoding="iso-8859-1")
    items = _items(movies["id"], movies["title"], movies[list(GENRES_100K[1:])])
    users["age"] = AGES[np.searchsorted(AGES, users["age"], side="right") - 1]
    users["job"] = users["job"].rank(method="dense").astype(int) - 1
    return build(name, "", _rows(name, ratings, list("umrt")), (_users(users), items), (1.0, 5.0))


def _read(
    name: str,
    files: Mapping[str, Path],
    file: str,
    columns: list[str],
    sep: str = ",",
    usecols: list[int] | None = None,
    encoding: str = "utf-8",
) -> pd.DataFrame:
    """One member as a frame with exactly these columns."""
    header: Any = 0 if sep == "," else None
    try:
        frame = pd.read_csv(
            files[f"{name}/{file}"],
            sep=sep,
            header=header,
            usecols=usecols,
            encoding=encoding,
            engine="c",
            na_filter=False,
            quoting=0 if sep == "," else 3,
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"'{name}': {file} cannot be read as columns {columns}: {error}; fetch it again") from None
    if frame.shape[1] != len(columns) or (header == 0 and list(frame.columns) != columns):
        raise DataError(f"'{name}': {file} has the columns {[str(c) for c in frame.columns]}, wanted {columns}; fetch it again")
    frame.columns = pd.Index(columns)
    return frame


def _rows(name: str, frame: pd.DataFrame, columns: list[str]) -> tuple[Ints, Ints, Any, Ints]:
    try:
        user, item, time = (frame[columns[i]].to_numpy(np.int64) for i in (0, 1, 3))
        return user, item, frame[columns[2]].to_numpy(np.float32), time
    except ValueError as error:
        raise DataError(f"'{name}': a rating row is not four numbers ({error}); fetch it again") from None


def _items(ids: Any, titles: Any, genres: pd.DataFrame) -> Side:
    """Genre flags, the decade as a category, the year as a number of order one; title and genres as text."""
    raw = pd.Series(ids).to_numpy(np.int64)
    order = np.argsort(raw)
    text = pd.Series(titles).str.extract(r"\((\d{4})\S*\)\s*$")[0]
    year = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    known = ~np.isnan(year)
    filled = np.where(known, year, 1980.0)
    decade = np.where(known, np.clip(filled // 10 - 190, 1, DECADES - 1), 0).astype(np.int64)
    flags = genres.drop(columns="(no genres listed)", errors="ignore").to_numpy(np.float32)
    # Constants, not the file's mean and spread: features may not look at the whole file.
    dense = ((filled - 1980.0) / 20.0).astype(np.float32)[:, None]
    names = np.array(genres.columns, dtype=str)
    described = [f"{title}. {', '.join(names[row > 0])}" for title, row in zip(pd.Series(titles), genres.to_numpy(), strict=True)]
    return Side(raw[order], decade[order, None], (DECADES,), flags[order], dense[order], tuple(described[i] for i in order))


def _users(users: pd.DataFrame) -> Side:
    """Gender, age group, occupation and the first digit of the zip code as categories from 1 on."""
    gender = np.where(users["gender"] == "M", 1, 2)
    age = np.searchsorted(AGES, users["age"].to_numpy(np.int64), side="right")
    job = users["job"].to_numpy(np.int64) + 1
    digit = pd.to_numeric(users["zip"].astype(str).str[0], errors="coerce").to_numpy(np.float64)
    region = np.where(np.isnan(digit), 0, np.nan_to_num(digit) + 1).astype(np.int64)
    ids = users["id"].to_numpy(np.int64)
    order = np.argsort(ids)
    columns = np.stack([gender, age, job, region], axis=1).astype(np.int64)[order]
    none = np.zeros((len(ids), 0), dtype=np.float32)
    return Side(ids[order], columns, (3, len(AGES) + 1, 22, 11), none, none)


def _tags(frame: pd.DataFrame, users: Side, items: Side) -> Tags:
    """Tags in lower case, of users and items that the other files know."""
    user, item = frame["userId"].to_numpy(np.int64), frame["movieId"].to_numpy(np.int64)
    keep = np.isin(user, users.ids) & np.isin(item, items.ids)
    # factorize and not np.unique, whose fixed-width copy of a few million tags would take gigabytes
    word, words = pd.factorize(frame["tag"].astype(str).str.strip().str.lower()[keep], sort=True)
    return Tags(
        np.searchsorted(users.ids, user[keep]),
        np.searchsorted(items.ids, item[keep]),
        word.astype(np.int64),
        tuple(map(str, words)),
    )
