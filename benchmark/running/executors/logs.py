"""What a cell writes, to a file of its own: `OUT/logs/<board>/<dataset>/<method>/seed-<i>.log`."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.records.store import CellStore, Key


def log_path(root: Path, key: Key, kind: str = "accuracy") -> Path:
    """Where the log of a cell lies; of a kind other than accuracy, `seed-<i>.<kind>.log` beside it."""
    cell = CellStore(root).path(key).relative_to(root / "cells")
    return root / "logs" / cell.with_suffix(".log" if kind == "accuracy" else f".{kind}.log")


@contextmanager
def captured(path: Path, goes_on: bool) -> Iterator[None]:
    """Sends stdout and stderr of this process to `path`, libraries of C included; an empty file is removed again.

    The file is begun anew unless it `goes_on`, or another run has it open, which shares the cell and waits for it
    or is waited for. Where it cannot be opened (a full disk), what is written goes where it went.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        yield
        return
    alone = _locked(file)
    if alone and not goes_on:
        os.ftruncate(file, 0)
    _flush()
    kept = os.dup(1), os.dup(2)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        yield
    finally:
        _flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
        with suppress(OSError):
            if alone and os.fstat(file).st_size == 0:
                path.unlink()
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a method may have closed it
            stream.flush()
