"""Where data lies: find it, fetch it, verify every member.

Search order: `--data-dir`, the variable COLDSTART_DATA, the package itself (embedded data), and the
cache folder (COLDSTART_CACHE, else ~/.cache/coldstart-bench) where `data fetch` puts archives.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from benchmark.data import columns
from benchmark.data.catalogue import Source, source
from benchmark.data.dataset import Dataset
from benchmark.errors import DataError, UsageError
from benchmark.files import part_prefix, sweep

EMBEDDED = Path(__file__).resolve().parent / "embedded"


def cache_folder() -> Path:
    chosen = os.environ.get("COLDSTART_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "coldstart-bench"


def find(name: str, data_dir: Path | None = None) -> Path | None:
    """The archive of a data set, or None where it, or a file that belongs beside it, is not here. Contents are not looked at."""
    entry = source(name)
    for folder in folders(data_dir):
        if (folder / entry.archive).is_file() and all(_plain_or_packed(folder, extra) for extra in entry.extras):
            return folder / entry.archive
    return None


def _plain_or_packed(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def folders(data_dir: Path | None) -> list[Path]:
    variable = os.environ.get("COLDSTART_DATA")
    for told, folder in (("--data-dir", data_dir), ("COLDSTART_DATA", Path(variable) if variable else None)):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{told} names '{folder}', which is no folder; name the one that holds the archives, or leave it out")
    chosen = [data_dir] if data_dir else []
    return [*chosen, *([Path(variable)] if variable else []), EMBEDDED, cache_folder() / "archives"]


def verify(name: str, data_dir: Path | None = None) -> None:
    """Checks the archive that a search would find, where one is here; cached columns do not speak for it."""
    archive = find(name, data_dir)
    if archive is not None:
        read_members(archive, source(name))


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """A data set's checked columns, from the cache where they were parsed before.

    Raises DataError where the archive is absent, damaged, or not the published one.
    """
    entry = source(name)
    module, function = entry.loader.split(":")
    cached = cache_folder() / "columns" / f"{name}-{columns.key(entry, module)}"
    dataset = columns.read(cached, entry)
    if dataset is not None:
        return dataset
    archive = find(name, data_dir)
    if archive is None:
        raise DataError(
            f"data set '{name}' is not here; looked for {entry.archive} in "
            f"{', '.join(map(str, folders(data_dir)))}; get it with `{fetch_command(name)}`"
        )
    loader: Callable[[Mapping[str, bytes]], Dataset] = getattr(import_module(module), function)
    parsed = loader(read_members(archive, entry))
    columns.write(cached, parsed)
    return parsed


def fetch_command(name: str) -> str:
    return f"python -m benchmark data fetch {name}"


def read_members(archive: Path, entry: Source) -> dict[str, bytes]:
    """The pinned members of a zip and the files that belong beside it, each checked against its sha256."""
    try:
        with zipfile.ZipFile(archive) as opened:
            present = set(opened.namelist())
            missing = sorted(set(entry.members) - present)
            if missing:
                raise DataError(f"{archive} has no member {missing[0]}; it is not '{entry.name}', {_again(entry)}")
            files = {member: opened.read(member) for member in entry.members}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive} cannot be read as a zip ({error}); {_again(entry)}") from None
    files |= {extra: _read_extra(archive.parent, extra) for extra in entry.extras}
    pins = {**entry.members, **entry.extras}
    for member, content in files.items():
        got = hashlib.sha256(content).hexdigest()
        if got != pins[member]:
            raise DataError(
                f"{archive}: {member} has sha256 {got} ({len(content):,} bytes) where {pins[member]} "
                f"is published: truncated, re-ordered or edited; {_again(entry)}"
            )
    return files


def _read_extra(folder: Path, name: str) -> bytes:
    path = _plain_or_packed(folder, name)
    if path is None:
        raise DataError(f"{folder} has no {name} (or {name}.gz) beside the archive; put it there")
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); put it there again") from None


def _again(entry: Source) -> str:
    return f"remove it and get it with `{fetch_command(entry.name)}`"


def fetch(name: str, timeout_seconds: float = 30.0) -> Path:
    """Downloads the public archive into the cache folder; only a verified file gets its name."""
    entry = source(name)
    if entry.extras:
        raise UsageError(
            f"'{name}' is {entry.archive} and {', '.join(entry.extras)}, which no public archive holds; fetch the first, put the "
            "second beside it as its authors publish it, and pass the folder as --data-dir or COLDSTART_DATA"
        )
    target = cache_folder() / "archives" / entry.archive
    if target.is_file():
        read_members(target, entry)
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=part_prefix())
        try:
            with os.fdopen(handle, "wb") as opened, urllib.request.urlopen(entry.url, timeout=timeout_seconds) as answer:
                shutil.copyfileobj(answer, opened)
                opened.flush()
                os.fsync(opened.fileno())
            read_members(Path(part), entry)
            os.chmod(part, 0o644)
            os.replace(part, target)
        finally:
            Path(part).unlink(missing_ok=True)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DataError(
            f"cannot reach {entry.url} ({getattr(error, 'reason', error)}); with a network, run the command again, "
            f"or put {entry.archive} into a folder and pass it as --data-dir or COLDSTART_DATA"
        ) from None
    except OSError as error:
        raise DataError(f"cannot write {target} ({error.strerror}); free some space or set COLDSTART_CACHE") from None
    return target
