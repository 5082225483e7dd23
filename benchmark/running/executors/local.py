"""Cells on this machine: a few worker processes of one thread each.

A worker that dies (out of memory, killed) costs its own cell a second try and is replaced; the others go on.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.running.executors.acts import accuracy
from benchmark.running.executors.logs import captured, log_path
from benchmark.running.executors.outcome import Act, Outcome
from benchmark.running.executors.stopped import stopped
from benchmark.running.executors.workers import Said, Worker, how_it_ended, spawn
from benchmark.running.plan import Cell

START_SECONDS = 20.0  # a worker that ends with an error before this has likely not started at all
OUT_OF_MEMORY = ("MemoryError", "_ArrayMemoryError", "OutOfMemoryError", "can't allocate memory")


@dataclass(frozen=True)
class Local:
    """`workers` processes; a cell that takes longer than `cell_seconds`, its wait for other runs apart, is stopped."""

    workers: int
    device: str
    cell_seconds: float | None = None

    def run(self, cells: Sequence[Cell], root: Path, act: Act = accuracy) -> Generator[Outcome, None, None]:
        """Yields each cell's start, what comes between, and its end; kills its workers when closed."""
        pool = _Pool(self, partial(_work, root, act), deque(map(_Job, cells)))
        try:
            while pool.waiting and len(pool.busy) < self.workers:
                yield pool.start(pool.spawn())
            while pool.busy:
                for pipe in wait(list(pool.busy), pool.patience()):
                    assert isinstance(pipe, Connection)
                    yield from pool.heard(pipe)
                pool.stop_overdue()
        finally:
            pool.kill()


@dataclass(frozen=True)
class _Job:
    """A cell, as a worker gets it."""

    cell: Cell
    again: bool = False  # a worker was lost with it before
    over: str = ""  # why it was stopped: all that is left is to record it


@dataclass
class _Busy:
    worker: Worker
    job: _Job
    since: float
    began: float | None = None  # when the cell was its own: neither its start nor a wait for another run is the method's


class _Pool:
    """The workers of one run, and the cells that wait for one."""

    def __init__(self, local: Local, work: Any, waiting: deque[_Job]) -> None:
        self.local, self.work, self.waiting = local, work, waiting
        self.busy: dict[Connection, _Busy] = {}

    def spawn(self) -> Worker:
        return spawn(self.work, self.local.device, talks=True)

    def start(self, worker: Worker) -> Outcome:
        """Gives the next cell to a worker."""
        job = self.waiting.popleft()
        self.busy[worker.pipe] = _Busy(worker, job, time.monotonic())
        with suppress(OSError):  # it was killed while it waited: `heard` will find its end
            worker.pipe.send(job)
        return Outcome(job.cell, "running")

    def heard(self, pipe: Connection) -> Iterator[Outcome]:
        """Takes what a worker says, its answer or its end, and gives it, or a fresh one, the next cell."""
        one = self.busy[pipe]
        try:
            told = pipe.recv()
        except (EOFError, OSError):
            told = None
        if isinstance(told, Said):
            if told.level < logging.WARNING:
                one.began = time.monotonic()
            else:
                yield Outcome(one.job.cell, "said", told.text)
            return
        del self.busy[pipe]
        outcome = _lost(one) if told is None else replace(told, seconds=time.monotonic() - one.since)
        alive = told is not None
        if _is_of_the_machine(one, outcome) and not one.job.again:
            outcome = replace(outcome, status="again")
            self.waiting.appendleft(replace(one.job, again=True))
            alive = False
        if not (alive and self.waiting):
            one.worker.dismiss()
        # The next cell is given out before anyone hears of this one, so that no worker is out of `busy` when the run is broken off.
        started = self.start(one.worker if alive else self.spawn()) if self.waiting else None
        yield outcome
        if started is not None:
            yield started

    def patience(self) -> float | None:
        """Seconds until a running cell is overdue."""
        ends = [until for _, until in self._limits()]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def stop_overdue(self) -> None:
        """Stops each cell whose time is over; a fresh worker records it as failed."""
        for one, until in self._limits():
            if time.monotonic() >= until and not one.worker.pipe.poll():
                del self.busy[one.worker.pipe]
                one.worker.trace()
                one.worker.stop()
                worker = self.spawn()
                job = replace(one.job, over=f"took longer than {self.local.cell_seconds:g} s")
                self.busy[worker.pipe] = _Busy(worker, job, one.since)
                with suppress(OSError):
                    worker.pipe.send(job)

    def _limits(self) -> list[tuple[_Busy, float]]:
        """The cells whose time runs, and when it is over."""
        limit = self.local.cell_seconds
        if limit is None:
            return []
        return [(one, one.began + limit) for one in self.busy.values() if one.began is not None and not one.job.over]

    def kill(self) -> None:
        """Ends every worker, whatever it is doing."""
        for one in self.busy.values():
            one.worker.process.kill()
        for one in self.busy.values():
            one.worker.process.join()


def _is_of_the_machine(one: _Busy, outcome: Outcome) -> bool:
    """Whether a cell may end better in a fresh worker: its own was killed, or found no memory."""
    if outcome.status == "lost":
        return (one.worker.process.exitcode or 0) < 0
    return outcome.status == "failed" and any(sign in outcome.reason for sign in OUT_OF_MEMORY)


def _lost(one: _Busy) -> Outcome:
    seconds = time.monotonic() - one.since
    how, cause = f"its worker {how_it_ended(one.worker.process)}", ""
    if (one.worker.process.exitcode or 0) > 0 and seconds < START_SECONDS:
        cause = ', perhaps for want of `if __name__ == "__main__":` around a call with several workers; see its error above'
    elif one.job.again:
        cause = ", as was another before it, perhaps out of memory; run the command again, with fewer --workers"
    return Outcome(one.job.cell, "lost", how + cause, seconds)


def _work(root: Path, act: Act, job: _Job) -> Outcome:
    """What became of a cell, in a worker; the traceback of one that failed is the last that its log says."""
    cell, kind = job.cell, getattr(act, "__name__", "act")
    with captured(log_path(root, cell.key, kind), goes_on=job.again or bool(job.over)):
        try:
            record: Any = act(stopped(cell, job.over) if job.over else cell, root)
            if record.traceback:
                with suppress(OSError):  # the disk is full, and the record says enough
                    print(record.traceback, file=sys.stderr)
            return Outcome(cell, record.status, record.reason, 0.0, record.training_seconds, record.asking_seconds)
        except BenchmarkError as error:
            return Outcome(cell, "lost", str(error))
        except Exception as error:  # the harness's own fault: say so, and keep the other cells
            return Outcome(cell, "lost", f"{type(error).__name__}: {error}")
