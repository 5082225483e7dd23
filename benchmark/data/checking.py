"""Is this the published file: archives, their members and plain files, hashed as they stream by."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from benchmark.data.pins import Source
from benchmark.errors import DataError

_CHUNK = 1 << 20


def fetch_command(name: str) -> str:
    return f"python -m benchmark data fetch {name}"


def way_to(entry: Source) -> str:
    """How one comes by a data set: a command, or a visit to its authors."""
    if entry.hub or (entry.url and not entry.files):
        return f"get it with `{fetch_command(entry.name)}`"
    return f"get it {entry.cost} (`python -m benchmark data info {entry.name}` lists the files)"


def check_archive(archive: Path, entry: Source) -> None:
    """Every pinned member of a zip, or the zip itself where it is pinned as a whole; raises DataError at the first fault."""
    _check_whole(archive, entry)
    if any(entry.members.values()):
        with _zip(archive, entry) as opened:
            for member, wanted in entry.members.items():
                with opened.open(member) as stream:
                    _hold(f"{archive}: {member}", stream, None, wanted, entry)


def extract(archive: Path, entry: Source, folder: Path) -> dict[str, Path]:
    """The members that are read, written under `folder` while they are checked; member -> path."""
    _check_whole(archive, entry)
    paths = {member: folder / member for member in entry.members}
    with _zip(archive, entry) as opened:
        for member, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as stream, path.open("wb") as sink:
                _hold(f"{archive}: {member}", stream, sink, entry.members[member], entry)
    return paths


def check_files(files: Mapping[str, Path], entry: Source) -> None:
    """Plain files, also packed ones, against the hash of their plain bytes, or against the note of their first fetch."""
    for name, path in files.items():
        note = note_of(path)
        wanted = entry.files[name] or (note.read_text().partition(" ")[0].strip() if note.is_file() else "")
        try:
            with plain(path) as stream:
                _hold(str(path), stream, None, wanted, entry)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read ({error}); {again(entry)}") from None


@contextmanager
def plain(path: Path) -> Iterator[IO[bytes]]:
    """The plain bytes of a file that may be packed."""
    if path.suffix == ".gz":
        with gzip.open(path) as packed:
            yield cast(IO[bytes], packed)
    else:
        with path.open("rb") as opened:
            yield opened


def note_of(path: Path) -> Path:
    """Beside a file that only a revision pins: its hash when it was first fetched, as `sha256sum -c` reads it."""
    return path.with_name(f"{path.name}.sha256")


def digest(path: Path, kind: str = "sha256") -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, kind).hexdigest()


def again(entry: Source) -> str:
    """What to do about a file that is not the published one."""
    if entry.url or entry.hub:
        return f"remove it and get it with `{fetch_command(entry.name)}`"
    return f"put the published file there again ({entry.home})"


def _check_whole(archive: Path, entry: Source) -> None:
    for kind, wanted in (("sha256", entry.archive_sha256), ("md5", entry.archive_md5)):
        if wanted and (got := digest(archive, kind)) != wanted:
            raise DataError(
                f"{archive} has {kind} {got} ({archive.stat().st_size:,} bytes) where {wanted} is published: "
                f"truncated, re-packed or edited; {again(entry)}"
            )


@contextmanager
def _zip(archive: Path, entry: Source) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            missing = sorted(set(entry.members) - set(opened.namelist()))
            if missing:
                raise DataError(f"{archive} has no member {missing[0]}; it is not '{entry.name}', {again(entry)}")
            yield opened
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive} cannot be read as a zip ({error}); {again(entry)}") from None


def _hold(label: str, stream: IO[bytes], sink: IO[bytes] | None, wanted: str, entry: Source) -> None:
    """Reads a stream to its end, into `sink` where there is one, and holds it to its hash; "" asks only that it can be read."""
    found, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        found.update(chunk)
        size += len(chunk)
        if sink is not None:
            sink.write(chunk)
    if wanted and found.hexdigest() != wanted:
        raise DataError(
            f"{label} has sha256 {found.hexdigest()} ({size:,} bytes) where {wanted} is published: "
            f"truncated, re-ordered or edited; {again(entry)}"
        )
