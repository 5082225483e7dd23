"""Cells and speed records of several folders, in one: what is the same is kept once, what contradicts is refused.

All is read and compared before anything is written, so a merge that is refused changes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, UsageError
from benchmark.files import checked_folder, write_atomic
from benchmark.records.schema import CellRecord
from benchmark.records.speed import SpeedRecord, SpeedStore
from benchmark.records.store import CellStore, label

SHOWN = 3  # differences of one conflict that are written out
HASH_SHOWN = 12  # characters of a hash


@dataclass(frozen=True)
class _Found:
    """A whole record and where it was found."""

    folder: Path
    record: CellRecord | SpeedRecord
    content: bytes


def merge(folders: Sequence[Path], out: Path) -> list[str]:
    """Collects the records of `folders` in `out`; returns what there is to say, the sum of it last.

    Raises UsageError where a folder has none, and BenchmarkError, naming each conflict, where two
    folders have different ones of the same cell. An `ok` record stands above a `failed` one of the same
    identity.
    """
    sources = _checked(folders, out)
    torn: list[Path] = []
    places: dict[Path, list[_Found]] = {}
    for folder in [*([out] if out.is_dir() else []), *sources]:
        here, found_torn = _read(folder)
        if not here and folder != out:
            also = f" ({len(found_torn)} torn: {', '.join(map(str, found_torn))})" if found_torn else ""
            raise UsageError(f"'{folder}' holds no finished cells{also}; name folders that `run` was given as --out")
        torn += found_torn
        for place, one in here.items():
            places.setdefault(place, []).append(one)
    kept = {place: _best(ones) for place, ones in sorted(places.items())}
    conflicts = [line for place, best in kept.items() for line in _conflicts(best, places[place])]
    if conflicts:
        told = "1 conflict" if len(conflicts) == 1 else f"{len(conflicts)} conflicts"
        raise BenchmarkError(
            f"{told}, and nothing was merged; find out which is right, remove the other and merge again:\n  " + "\n  ".join(conflicts)
        )
    checked_folder(out)
    for place, best in kept.items():
        if best.folder != out:
            _put(place, best, places[place], out)
    lines = [
        f"{_label(one.record)}: ok in {best.folder}, so its failure in {one.folder} is left out" for best, one in _beaten(kept, places)
    ]
    if torn:
        lines.append(f"{len(torn)} torn or unreadable, left out: {', '.join(map(str, torn))}")
    return [*lines, _sum(kept, places, sources, out)]


def _checked(folders: Sequence[Path], out: Path) -> list[Path]:
    """The folders, each once; a UsageError where one cannot be read or is `out`."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is no folder; name folders that `run` was given as --out")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise UsageError(f"'{folder}' may not be read; change its rights")
        if folder.resolve() == out.resolve():
            raise UsageError(f"'{folder}' is both merged and --out; its cells stay in --out anyway, so name only the others")
        found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _read(folder: Path) -> tuple[dict[Path, _Found], list[Path]]:
    """Every whole record by its place in `folder`, and the files that are none."""
    whole: dict[Path, _Found] = {}
    torn: list[Path] = []
    for store in (CellStore(folder), SpeedStore(folder)):
        for path in store.paths():
            record = store.read_at(path)
            if record is None:
                torn.append(path)
            else:
                whole[path.relative_to(folder)] = _Found(folder, record, path.read_bytes())
    return whole, torn


def _best(ones: list[_Found]) -> _Found:
    return next((one for one in ones if one.record.status == "ok"), ones[0])


def _is_beaten(one: _Found, best: _Found) -> bool:
    return (one.record.status, best.record.status) == ("failed", "ok") and one.record.identity == best.record.identity


def _beaten(kept: dict[Path, _Found], places: dict[Path, list[_Found]]) -> Iterator[tuple[_Found, _Found]]:
    return ((best, one) for place, best in kept.items() for one in places[place] if _is_beaten(one, best))


def _conflicts(best: _Found, ones: list[_Found]) -> Iterator[str]:
    for one in ones:
        if one.content != best.content and not _is_beaten(one, best):
            yield f"{_label(best.record)}: {best.folder} and {one.folder} differ in {_difference(best, one)}"


def _difference(one: _Found, other: _Found) -> str:
    """Which fields, with both values; where no field differs, which task's metric."""
    ours, theirs = (dict(_fields(side.record.model_dump(mode="json"))) for side in (one, other))
    names = [name for name in dict.fromkeys([*ours, *theirs]) if name != "rows_sha256" and ours.get(name) != theirs.get(name)]
    told = [f"{_named(name)} ({_short(ours.get(name))} and {_short(theirs.get(name))})" for name in names]
    if told:
        return ", ".join(told[:SHOWN]) + (f" and {len(told) - SHOWN} more" if len(told) > SHOWN else "")
    return _row(one, other)


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _fields(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _named(field: str) -> str:
    """`mae at k=5` instead of `summary.mae.5`."""
    metric, _, k = field.removeprefix("summary.").rpartition(".")
    return f"{metric} at k={k}" if field.startswith("summary.") and metric else field


def _short(value: Any) -> str:
    is_hash = isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")
    return f"{value[:HASH_SHOWN]}..." if is_hash else "nothing" if value is None else repr(value)


def _row(one: _Found, other: _Found) -> str:
    """The first row that differs between two records with the same fields."""
    if isinstance(one.record, CellRecord) and isinstance(other.record, CellRecord) and one.record.rows_sha256 != other.record.rows_sha256:
        ours, theirs = CellStore(one.folder).rows(one.record), CellStore(other.folder).rows(other.record)
        for name in ours:
            for at, (left, right) in enumerate(zip(ours[name], theirs.get(name, []), strict=False)):
                if left != right:
                    return f"{name} of task {ours['task'][at]} at k={ours['k'][at]} ({left!r} and {right!r})"
        return "the bytes of the rows, and in no value of theirs"
    return "the bytes of the file, and in no field"


def _put(place: Path, best: _Found, ones: list[_Found], out: Path) -> None:
    """Writes a record into `out` as it was found, for a cell with its rows and with what a run of it took."""
    if isinstance(best.record, SpeedRecord):
        return write_atomic(out / place, best.content)
    key, rows = best.record.key, None
    if best.record.status == "ok":
        rows = (best.folder / place).with_suffix(".parquet").read_bytes()
        if hashlib.sha256(rows).hexdigest() != best.record.rows_sha256:
            raise BenchmarkError(
                f"{_label(best.record)} in {best.folder} was written to while it was merged; merge again when no run is on"
            )
    same = [CellStore(one.folder).facts(key) for one in ones if one.content == best.content]
    store = CellStore(out)
    with store.lock(key):
        store.put(key, best.content, rows, next((facts for facts in same if facts is not None), None))


def _sum(kept: dict[Path, _Found], places: dict[Path, list[_Found]], sources: Sequence[Path], out: Path) -> str:
    cells = sum(isinstance(best.record, CellRecord) for best in kept.values())
    new = sum(best.folder != out for best in kept.values())
    twice = sum(len([one for one in places[place] if one.content == best.content]) > 1 for place, best in kept.items())
    from_ = "1 folder" if len(sources) == 1 else f"{len(sources)} folders"
    return (
        f"{out}: {cells} cells and {len(kept) - cells} speed records, {new} of them new from {from_}, "
        f"{twice} found more than once and the same"
    )


def _label(record: CellRecord | SpeedRecord) -> str:
    name = label(record.key)
    return name if isinstance(record, CellRecord) else f"{name}, speed on machine {record.machine_id[:HASH_SHOWN]}"
