"""A lock that dies with its process, and says who holds it.

The operating system holds the lock and frees it however its process ends, so there is no stale lock to clean up. Who
holds it stands in a file beside it, since some versions of filelock empty the locked file whenever they try it; after a
kill that file names a process that is gone, and the next holder writes over it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import filelock

from benchmark.errors import BenchmarkError

PATIENCE_SECONDS = 5.0  # before a wait is said
log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Holds `path` for this process; waits while another has it, and logs a warning that names it.

    Logs at level INFO when `what` is held, which is where its work begins. Raises BenchmarkError where no
    lock can be made.
    """
    owner = path.with_suffix(".owner")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=PATIENCE_SECONDS)
        except filelock.Timeout:
            log.warning("%s waits for %s", what, holder(owner))
            lock.acquire()
        with contextlib.suppress(OSError):  # on a full disk the lock still locks, it only does not say whose it is
            owner.write_text(json.dumps({"process": os.getpid(), "host": platform.node(), "cell": what}))
    except OSError as error:
        raise BenchmarkError(f"cannot write in {path.parent.parent} ({error.strerror or error}); give another --out") from None
    log.info("%s is held", what)
    try:
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def holder(owner: Path) -> str:
    """Who holds a lock, as a phrase."""
    try:
        told = json.loads(owner.read_text())
        return f"process {told['process']} on {told['host']}, which is at it"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process, which is at it"
