"""Fetching public data into the cache folder: resumed where it stopped, named only once it is verified."""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.data.amazon_2023 import FOLDER
from benchmark.data.catalogue import source
from benchmark.data.checking import check_archive, check_files, digest, fetch_command, note_of
from benchmark.data.pins import Source
from benchmark.data.store import fetched_folder, locate
from benchmark.errors import DataError, UsageError
from benchmark.files import write_atomic

PARTIAL = ".partial"  # beside the file that is fetched: what came so far
_CHUNK = 1 << 18
Progress = Callable[[int, int], None]  # bytes that are here, and bytes that there will be (0 where the server does not say)


def fetch(name: str, progress: Progress | None = None, timeout_seconds: float = 10.0) -> tuple[Path, ...]:
    """The verified files of a data set, fetched into the cache folder where they are not there yet.

    Raises DataError where they cannot be had, UsageError where no public archive holds them.
    """
    entry = source(name)
    if entry.generated:
        return ()
    if entry.hub:
        return _from_hub(entry, timeout_seconds)
    place = locate(entry, None)
    missing = [needed for needed in entry.files if needed not in place.files]
    if missing:
        raise UsageError(
            f"no public archive holds {' and '.join(missing)} of '{name}' as it is read here; its authors publish it at {entry.home}: "
            f"put it into a folder under that name (plain or .gz){f' beside {entry.archive}' if entry.archive else ''} "
            "and pass the folder as --data-dir or COLDSTART_DATA"
        )
    check_files(place.files, entry)
    if place.archive is not None:
        check_archive(place.archive, entry)
        return place.paths
    archive = [_archive(entry, progress, timeout_seconds)] if entry.url else []
    return (*archive, *place.files.values())


def _archive(entry: Source, progress: Progress | None, timeout_seconds: float) -> Path:
    target = fetched_folder() / entry.archive
    if target.is_file():
        check_archive(target, entry)
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            _download(entry, target, progress, timeout_seconds)
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise DataError(_unreachable(entry, entry.url, getattr(error, "reason", error), target)) from None
    except OSError as error:
        raise DataError(f"cannot write {target} ({error.strerror or error}); free some space or set COLDSTART_CACHE") from None
    return target


def _download(entry: Source, target: Path, progress: Progress | None, timeout_seconds: float) -> None:
    """What is missing of the archive, behind what came before; a wrong one is removed and refused."""
    part = target.with_name(target.name + PARTIAL)
    have = part.stat().st_size if part.is_file() else 0
    try:
        with _answer(entry.url, have, timeout_seconds) as answer:
            resumed = getattr(answer, "status", None) == 206
            done = have if resumed else 0  # a server that knows no ranges sends all of it again
            total = done + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if resumed else "wb") as opened:
                while chunk := answer.read(_CHUNK):
                    opened.write(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, total)
                opened.flush()
                os.fsync(opened.fileno())
        if done < total:
            raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")
    except BaseException:
        if part.is_file() and not part.stat().st_size:
            part.unlink()
        raise
    try:
        check_archive(part, entry)
    except DataError:
        part.unlink()
        raise
    os.replace(part, target)


def _answer(url: str, have: int, timeout_seconds: float) -> Any:
    """The response to a request for all but the first `have` bytes, or for all where the server has no such range."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(request, timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        return urllib.request.urlopen(url, timeout=timeout_seconds)


def _from_hub(entry: Source, timeout_seconds: float) -> tuple[Path, ...]:
    """The files at the pinned revision, by `huggingface_hub`, which resumes; their hashes are noted at the first fetch."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    folder = fetched_folder()
    held: dict[str, Path] = {}
    try:
        _reach(endpoint, timeout_seconds)
        for name in entry.files:
            try:
                path = Path(
                    hf_hub_download(
                        entry.hub,
                        name.removeprefix(f"{FOLDER}/"),
                        repo_type="dataset",
                        revision=entry.revision,
                        local_dir=folder / FOLDER,
                        endpoint=endpoint,
                        etag_timeout=timeout_seconds,
                    )
                )
            except RemoteEntryNotFoundError:
                if name not in entry.optional:
                    raise
                continue
            held[name] = path
            note = note_of(path)
            if not note.is_file():
                write_atomic(note, f"{digest(path)}  {path.name}\n".encode())
    except (urllib.error.URLError, HfHubHTTPError, OSError) as error:
        raise DataError(_unreachable(entry, f"{endpoint}/datasets/{entry.hub}", getattr(error, "reason", error), None)) from None
    check_files(held, entry)
    return tuple(held.values())


def _reach(endpoint: str, timeout_seconds: float) -> None:
    """Fails at once where there is no network: `huggingface_hub` would try for half a minute."""
    with (
        contextlib.suppress(urllib.error.HTTPError),
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=timeout_seconds),
    ):
        pass


def _unreachable(entry: Source, url: str, reason: object, target: Path | None) -> str:
    part = target.with_name(target.name + PARTIAL) if target is not None else None
    kept = f"; {part.stat().st_size:,} bytes are kept and it goes on from there" if part is not None and part.is_file() else ""
    needs = " and ".join(entry.needs)
    return (
        f"cannot reach {url} ({' '.join(str(reason).split())}); with a network, run `{fetch_command(entry.name)}` again{kept}, "
        f"or put {needs} into a folder and pass it as --data-dir or COLDSTART_DATA"
    )


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One fetch of a file at a time: two would write into the same partial file."""
    lock = FileLock(target.with_name(target.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(f"{target.name} is being fetched by another process; wait for it") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
