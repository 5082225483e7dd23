"""What a worker may do with a cell, instead of running a method: nothing, noise, or harm."""

from __future__ import annotations

import ctypes
import os
import signal
import time
import warnings
from dataclasses import dataclass

from benchmark.records.store import CellStore


@dataclass(frozen=True)
class Done:
    status: str = "ok"
    reason: str = ""
    traceback: str = ""
    training_seconds: float = 0.0
    asking_seconds: float = 0.0


def nothing(cell, root):
    return Done()


def says_who(cell, root):
    return Done(reason=str(os.getpid()))


def _tries(cell, root):
    """How often this cell was tried before."""
    file = root / f"tries-{cell.identity.method}-{cell.identity.seed_index}"
    with open(file, "a") as opened:
        opened.write("x")
    return len(file.read_text()) - 1


def is_killed_once(cell, root):
    if cell.identity.method == "bias" and _tries(cell, root) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return Done(reason=str(os.getpid()))


def is_killed(cell, root):
    if cell.identity.method == "bias":
        _tries(cell, root)
        os.kill(os.getpid(), signal.SIGKILL)
    return Done()


def finds_no_memory_once(cell, root):
    if cell.identity.method == "bias" and _tries(cell, root) == 0:
        return Done("failed", "MemoryError: Unable to allocate 3.00 TiB for an array", "a trace")
    return Done(reason=str(os.getpid()))


def raises(cell, root):
    _tries(cell, root)
    return Done("failed", "ValueError: three is no matrix", "Traceback (most recent call last): here")


def locks(cell, root):
    with CellStore(root).lock(cell.key):
        time.sleep(0.1)
    return Done()


def hangs(cell, root):
    """Until its time is over; then it is given a method that says so."""
    if cell.entry.target.endswith(":Stopped"):
        return Done("failed", cell.entry.settings["reason"])
    with CellStore(root).lock(cell.key):
        print("going to sleep")
        time.sleep(120 if cell.identity.method == "bias" else 0)
    return Done()


def writes(cell, root):
    if cell.identity.method == "bias":
        print("from Python")
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        warnings.warn("from a warning", RuntimeWarning, stacklevel=1)
        os.system("echo from a child")
    return Done()
