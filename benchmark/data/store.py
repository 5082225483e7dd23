"""Where data lies: find it, verify it, load it.

Search order: `--data-dir`, the variable COLDSTART_DATA, the package itself (embedded data), and the
cache folder (COLDSTART_CACHE, else ~/.cache/coldstart-bench) where `data fetch` puts files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from benchmark.data import columns
from benchmark.data.catalogue import source
from benchmark.data.checking import check_archive, check_files, extract, way_to
from benchmark.data.dataset import Dataset
from benchmark.data.pins import Source
from benchmark.errors import DataError, UsageError

EMBEDDED = Path(__file__).resolve().parent / "embedded"


@dataclass(frozen=True)
class Place:
    """Where the files of one data set were found."""

    archive: Path | None  # None where it has none
    files: Mapping[str, Path]  # path in a data folder -> the file, plain or packed

    @property
    def paths(self) -> tuple[Path, ...]:
        return (*([self.archive] if self.archive else []), *self.files.values())


def cache_folder() -> Path:
    chosen = os.environ.get("COLDSTART_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "coldstart-bench"


def fetched_folder() -> Path:
    """Where `data fetch` puts files."""
    return cache_folder() / "archives"


def folders(data_dir: Path | None) -> list[Path]:
    variable = os.environ.get("COLDSTART_DATA")
    for told, folder in (("--data-dir", data_dir), ("COLDSTART_DATA", Path(variable) if variable else None)):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{told} names '{folder}', which is no folder; name the one that holds the data, or leave it out")
    chosen = [data_dir] if data_dir else []
    return [*chosen, *([Path(variable)] if variable else []), EMBEDDED, fetched_folder()]


def locate(entry: Source, data_dir: Path | None) -> Place:
    """What is here of a data set. Contents are not looked at."""
    searched = folders(data_dir)
    found = {needed: path for needed in entry.files if (path := _first(searched, needed)) is not None}
    archives = [folder / entry.archive for folder in searched if entry.archive and (folder / entry.archive).is_file()]
    return Place(archives[0] if archives else None, found)


def find(name: str, data_dir: Path | None = None) -> Place | None:
    """The files of a data set, or None where one that it needs is not here."""
    entry = source(name)
    place = locate(entry, data_dir)
    here = {*place.files, *([entry.archive] if place.archive else [])}
    return place if set(entry.needs) <= here else None


def is_here(name: str, data_dir: Path | None = None) -> bool:
    return find(name, data_dir) is not None


def _first(searched: list[Path], name: str) -> Path | None:
    return next((path for folder in searched for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def verify(name: str, data_dir: Path | None = None) -> None:
    """Checks the files that a search would find, where they are here; cached columns do not speak for them."""
    entry, place = source(name), find(name, data_dir)
    if place is None:
        return
    if place.archive is not None:
        check_archive(place.archive, entry)
    check_files(place.files, entry)


@contextmanager
def opened(entry: Source, place: Place) -> Iterator[dict[str, Path]]:
    """The checked files of a data set: name -> path; what comes out of an archive goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="coldstart-") as folder:
        members = extract(place.archive, entry, Path(folder)) if place.archive is not None else {}
        check_files(place.files, entry)
        yield {**members, **place.files}


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """A data set's checked columns, from the cache where they were parsed before.

    Raises DataError where a file is absent, damaged, or not the published one.
    """
    entry = source(name)
    module, _ = entry.loader.split(":")
    if entry.generated:
        return parse(entry, Place(None, {}))
    place = find(name, data_dir)
    cached = cache_folder() / "columns" / f"{name}-{columns.key(entry, module, _unpinned(entry, place))}"
    dataset = columns.read(cached, entry)
    if dataset is not None:
        return dataset
    if place is None:
        raise DataError(
            f"data set '{name}' is not here; looked for {', '.join(entry.needs)} in "
            f"{', '.join(map(str, folders(data_dir)))}; {way_to(entry)}"
        )
    parsed = parse(entry, place)
    columns.write(cached, parsed)
    return parsed


def parse(entry: Source, place: Place) -> Dataset:
    """The data set from its checked files, held to the counts that the catalogue pins."""
    module, function = entry.loader.split(":")
    loader: Callable[[Mapping[str, Path]], Dataset] = getattr(import_module(module), function)
    with opened(entry, place) as files:
        made = loader(files)
    check_counts(entry, made)
    made = replace(made, name=entry.name, sha256=entry.sha256)
    # What no hash pins, a generated world or files that were put there by hand, is known by what came out.
    return made if entry.pinned else replace(made, sha256=columns.content(made))


def check_counts(entry: Source, made: Dataset) -> None:
    got = (len(made), len(made.users), len(made.items))
    if entry.counts is not None and (got, made.repeats) != (entry.counts, entry.repeats):
        rows, users, items = entry.counts
        raise DataError(
            f"'{entry.name}' came out as {got[0]:,} rows of {got[1]:,} users and {got[2]:,} items, {made.repeats:,} repeats gone; "
            f"the catalogue pins {rows:,}, {users:,}, {items:,} and {entry.repeats:,}: its loader has changed, or the pins are wrong"
        )


def _unpinned(entry: Source, place: Place | None) -> str:
    """Which files that no hash pins were found, and as what: cached columns hold for these alone."""
    if place is None:
        return ""
    found = [(name, path.stat()) for name, path in sorted(place.files.items()) if not entry.files[name]]
    return "".join(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n" for name, stat in found)
