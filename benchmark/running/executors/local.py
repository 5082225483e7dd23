"""Cells on this machine: a few worker processes of one thread each.

A worker that dies (out of memory, killed) costs its own cell and is replaced; the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from benchmark.errors import BenchmarkError
from benchmark.records.store import CellStore
from benchmark.running.plan import Cell
from benchmark.running.run import THREADS, reset_process, run_cell

START_SECONDS = 20.0  # a worker that ends with an error before this has likely not started at all
ONE_THREAD = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
# glibc gives large blocks back to the system when they are freed, and a training step then spends a
# third of its time on page faults for the same blocks again. Keep them.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(256 << 20)}


@dataclass(frozen=True)
class Outcome:
    """What became of a cell. `lost` left no record: its worker died, or the split was refused."""

    cell: Cell
    status: Literal["running", "ok", "failed", "unsupported", "lost"]
    reason: str = ""
    seconds: float = 0.0


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    cell: Cell
    since: float


def run(cells: Sequence[Cell], root: Path, workers: int, device: str) -> Generator[Outcome, None, None]:
    """Yields `running` when a cell starts and its end when it ends; stops its workers when closed."""
    waiting = deque(cells)
    busy: dict[Connection, _Worker] = {}
    try:
        while waiting and len(busy) < workers:
            yield _start(busy, None, waiting.popleft(), root, device)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker = busy.pop(pipe)
                outcome, alive = _outcome(worker)
                yield outcome
                if waiting:
                    yield _start(busy, worker if alive else None, waiting.popleft(), root, device)
                elif alive:
                    pipe.send(None)
                    worker.process.join()
    finally:
        for worker in busy.values():
            worker.process.terminate()
        for worker in busy.values():
            worker.process.join()


def _start(busy: dict[Connection, _Worker], idle: _Worker | None, cell: Cell, root: Path, device: str) -> Outcome:
    if idle is None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process: BaseProcess = context.Process(target=_work, args=(theirs, root, device), daemon=True)
        with _environment(ONE_THREAD | KEEP_MEMORY):
            process.start()
        theirs.close()
    else:
        process, ours = idle.process, idle.pipe
    busy[ours] = _Worker(process, ours, cell, time.monotonic())
    ours.send(cell)
    return Outcome(cell, "running")


def _outcome(worker: _Worker) -> tuple[Outcome, bool]:
    seconds = time.monotonic() - worker.since
    try:
        status, reason = worker.pipe.recv()
        return Outcome(worker.cell, status, reason, seconds), True
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        cause = "perhaps out of memory; run the command again, with fewer --workers"
        if code > 0 and seconds < START_SECONDS:
            cause = 'perhaps for want of `if __name__ == "__main__":` around a call with several workers; see its error above'
        reason = f"its worker {how}, {cause}"
        return Outcome(worker.cell, "lost", reason, seconds), False


def _work(pipe: Connection, root: Path, device: str) -> None:
    """A worker's life: a cell in, its status out, until told None or left alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    reset_process(device)
    store = CellStore(root)
    while True:
        try:
            cell = pipe.recv()
        except EOFError:
            return
        if cell is None:
            return
        answer: tuple[str, str]
        try:
            record = run_cell(cell, store)
            answer = (record.status, record.reason)
        except BenchmarkError as error:
            answer = ("lost", str(error))
        except Exception as error:  # the harness's own fault: say so, and keep the other cells
            answer = ("lost", f"{type(error).__name__}: {error}")
        try:
            pipe.send(answer)
        except OSError:
            return


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets variables for a child's start: its libraries read them when they are loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
