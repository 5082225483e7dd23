"""Files that appear whole or not at all, and what a killed writer leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

from benchmark.errors import BenchmarkError

PART = ".part-"
FORGOTTEN_SECONDS = 3600.0  # a writer on another machine that has been silent for this long is gone
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def part_prefix() -> str:
    """What an unfinished file's name begins with: it says which process, on which machine, is writing it."""
    return f"{PART}{_HOST}-{os.getpid()}-"


def write_atomic(path: Path, content: bytes) -> None:
    """The file appears whole or not at all, also when the power goes. Makes its folder.

    Raises BenchmarkError where the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=part_prefix())
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            os.chmod(part, 0o644)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            raise
        _sync(path.parent)
    except OSError as error:
        raise BenchmarkError(
            f"cannot write {path} ({error.strerror or error}); free some space or give another folder, then run the "
            "same command again: finished cells are kept"
        ) from None


def checked_folder(out: Path) -> None:
    """Makes a folder for results; raises BenchmarkError where that cannot be, or nothing could be written into it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(f"cannot make the folder '{out}' ({error.strerror}); give another --out") from None
    if not os.access(out, os.W_OK):
        raise BenchmarkError(f"cannot write into '{out}'; change its rights or give another --out")


def _sync(folder: Path) -> None:
    """Makes a rename outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Removes unfinished files and folders under `folder` whose writer is gone; a living writer keeps its own."""
    for path in folder.glob(f"**/{PART}*"):
        with contextlib.suppress(OSError):
            if _is_orphan(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_orphan(path: Path) -> bool:
    host, _, rest = path.name.removeprefix(PART).partition("-")
    process = rest.partition("-")[0]
    if host == _HOST and process.isdigit():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False
    # A clock that jumped back leaves files of the future; one that is hours ahead is as little being written as an old one.
    return abs(time.time() - path.stat().st_mtime) > FORGOTTEN_SECONDS
