"""Parsed columns on disk: a folder of .npy files and a manifest of their hashes, memory-mapped."""

from __future__ import annotations

import ast
import errno
import hashlib
import json
import logging
import shutil
import tempfile
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.dataset import Dataset, Side, Tags, Words
from benchmark.data.pins import Source
from benchmark.files import part_prefix, sweep

log = logging.getLogger(__name__)
OPTIONAL = ("cold_users", "cold_items", "domain")
PLAIN = ("synthetic", "implicit", "clock", "repeats")


def key(entry: Source, loader: str, unpinned: str = "") -> str:
    """What cached columns depend on: the published bytes, and the code that reads them into columns.

    `unpinned` tells of files whose hash is not known beforehand.
    """
    digest = hashlib.sha256((entry.sha256 + unpinned).encode())
    for path in sorted({*_code(loader), *_code(__name__)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _code(module: str, seen: frozenset[str] = frozenset()) -> set[Path]:
    """The file of a module, and of all that it imports from benchmark.data; the catalogue's hash speaks for the catalogue."""
    spec = util.find_spec(module)
    if module in seen or spec is None or spec.origin is None:
        return set()
    path = Path(spec.origin)
    found = {path}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmark.data"):
            named = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "benchmark.data" else [str(node.module)]
            for name in named:
                if not name.endswith(("catalogue", "pins")):
                    found |= _code(name, seen | {module})
    return found


def _columns(dataset: Dataset) -> dict[str, np.ndarray[Any, Any]]:
    columns: dict[str, np.ndarray[Any, Any]] = {
        "user": dataset.user,
        "item": dataset.item,
        "rating": dataset.rating,
        "time": dataset.time,
        "tags.user": dataset.tags.user,
        "tags.item": dataset.tags.item,
        "tags.word": dataset.tags.word,
    }
    for label, side in (("users", dataset.users), ("items", dataset.items)):
        for part in ("ids", "categorical", "multi_hot", "dense"):
            columns[f"{label}.{part}"] = getattr(side, part)
        columns |= {f"{label}.words.index": side.words.index, f"{label}.words.word": side.words.word}
    for label in OPTIONAL:
        if (column := getattr(dataset, label)) is not None:
            columns[label] = column
    return columns


def content(dataset: Dataset) -> str:
    """One hash of a data set's own and of all its columns."""
    digest = hashlib.sha256(dataset.sha256.encode())
    for name, column in sorted(_columns(dataset).items()):
        digest.update(f"{name}\0{column.dtype.str}\0".encode() + np.ascontiguousarray(column).tobytes())
    for side in (dataset.users, dataset.items):
        digest.update("\0".join((*side.text, *side.words.vocabulary)).encode())
    return digest.hexdigest()


def write(folder: Path, dataset: Dataset) -> None:
    """A folder of .npy files that appears whole or not at all; a full disk only costs the cache."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=part_prefix()))
        try:
            digests = {}
            for name, column in _columns(dataset).items():
                np.save(part / f"{name}.npy", column)
                digests[name] = _digest(part / f"{name}.npy")
            facts = {
                "columns": digests,
                "sha256": dataset.sha256,
                "rating_range": dataset.rating_range,
                "words": dataset.tags.words,
                "text": {"users": dataset.users.text, "items": dataset.items.text},
                "vocabulary": {"users": dataset.users.words.vocabulary, "items": dataset.items.words.vocabulary},
                "domains": dataset.domains,
                "plain": {name: getattr(dataset, name) for name in PLAIN},
                "sizes": {"users": dataset.users.categorical_sizes, "items": dataset.items.categorical_sizes},
            }
            (part / "manifest.json").write_text(json.dumps(facts))
            shutil.rmtree(folder, ignore_errors=True)
            try:
                part.rename(folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was quicker, with the same columns
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        log.warning("parsed columns were not cached in %s (%s); free some space or set COLDSTART_CACHE", folder, error.strerror)


def read(folder: Path, entry: Source) -> Dataset | None:
    """The cached columns, or None where there are none or a byte of them changed."""
    try:
        facts = json.loads((folder / "manifest.json").read_text())
        columns = {}
        for name, digest in facts["columns"].items():
            if _digest(folder / f"{name}.npy") != digest:
                raise ValueError(f"{name} changed on disk")
            columns[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
        users, items = (_side(columns, side, facts) for side in ("users", "items"))
        extras: dict[str, Any] = {**{name: columns.get(name) for name in OPTIONAL}, **facts["plain"]}
        return Dataset(
            name=entry.name,
            sha256=facts["sha256"],
            user=columns["user"],
            item=columns["item"],
            rating=columns["rating"],
            time=columns["time"],
            users=users,
            items=items,
            rating_range=tuple(facts["rating_range"]),
            tags=Tags(columns["tags.user"], columns["tags.item"], columns["tags.word"], tuple(facts["words"])),
            domains=tuple(facts["domains"]),
            **extras,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("cached columns in %s are damaged (%s) and are made again", folder, error)
        return None


def _side(columns: dict[str, Any], name: str, facts: dict[str, Any]) -> Side:
    ids, categorical, multi_hot, dense = (columns[f"{name}.{part}"] for part in ("ids", "categorical", "multi_hot", "dense"))
    words = Words(columns[f"{name}.words.index"], columns[f"{name}.words.word"], tuple(facts["vocabulary"][name]))
    return Side(ids, categorical, tuple(facts["sizes"][name]), multi_hot, dense, tuple(facts["text"][name]), words)


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
