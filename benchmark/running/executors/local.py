"""Cells on this machine: a few worker processes of one thread each.

A worker that dies (out of memory, killed) costs its own cell and is replaced; the others go on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, Protocol

from benchmark.errors import BenchmarkError
from benchmark.records.store import CellStore
from benchmark.running.executors.workers import Worker, how_it_ended, spawn
from benchmark.running.plan import Cell
from benchmark.running.run import run_cell

START_SECONDS = 20.0  # a worker that ends with an error before this has likely not started at all


@dataclass(frozen=True)
class Outcome:
    """What became of a cell. `lost` left no record: its worker died, or the split was refused."""

    cell: Cell
    status: Literal["running", "ok", "failed", "unsupported", "lost"]
    reason: str = ""
    seconds: float = 0.0
    training_seconds: float = 0.0
    asking_seconds: float = 0.0


class Ended(Protocol):
    """A record of any kind, as far as a driver reads it."""

    @property
    def status(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def training_seconds(self) -> float: ...

    @property
    def asking_seconds(self) -> float: ...


Act = Callable[[Cell, Path], Ended]


def accuracy(cell: Cell, root: Path) -> Ended:
    """Runs a cell, for its accuracy."""
    return run_cell(cell, CellStore(root))


@dataclass
class _Busy:
    worker: Worker
    cell: Cell
    since: float


def run(cells: Sequence[Cell], root: Path, workers: int, device: str, act: Act = accuracy) -> Generator[Outcome, None, None]:
    """Yields `running` when a cell starts and its end when it ends; stops its workers when closed.

    `act` is what is done with a cell; a worker imports it.
    """
    work = partial(_work, root, act)
    waiting = deque(cells)
    busy: dict[Connection, _Busy] = {}
    try:
        while waiting and len(busy) < workers:
            yield _start(busy, spawn(work, device), waiting.popleft())
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                one = busy.pop(pipe)
                outcome, alive = _outcome(one)
                yield outcome
                if waiting:
                    yield _start(busy, one.worker if alive else spawn(work, device), waiting.popleft())
                elif alive:
                    pipe.send(None)
                    one.worker.process.join()
    finally:
        for one in busy.values():
            one.worker.process.terminate()
        for one in busy.values():
            one.worker.process.join()


def _start(busy: dict[Connection, _Busy], worker: Worker, cell: Cell) -> Outcome:
    busy[worker.pipe] = _Busy(worker, cell, time.monotonic())
    worker.pipe.send(cell)
    return Outcome(cell, "running")


def _outcome(one: _Busy) -> tuple[Outcome, bool]:
    seconds = time.monotonic() - one.since
    try:
        status, reason, training, asking = one.worker.pipe.recv()
        return Outcome(one.cell, status, reason, seconds, training, asking), True
    except (EOFError, OSError):
        how = how_it_ended(one.worker.process)
        cause = "perhaps out of memory; run the command again, with fewer --workers"
        if (one.worker.process.exitcode or 0) > 0 and seconds < START_SECONDS:
            cause = 'perhaps for want of `if __name__ == "__main__":` around a call with several workers; see its error above'
        return Outcome(one.cell, "lost", f"its worker {how}, {cause}", seconds), False


def _work(root: Path, act: Act, cell: Cell) -> tuple[str, str, float, float]:
    """What became of a cell in a worker: its status, the reason, and the seconds of training and of asking."""
    try:
        record = act(cell, root)
        return record.status, record.reason, record.training_seconds, record.asking_seconds
    except BenchmarkError as error:
        return "lost", str(error), 0.0, 0.0
    except Exception as error:  # the harness's own fault: say so, and keep the other cells
        return "lost", f"{type(error).__name__}: {error}", 0.0, 0.0
