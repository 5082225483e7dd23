"""Worker processes of one thread each: a job in, an answer out, until told None or left alone.

A worker that talks sends what the harness logs (a `Said`) before its answer.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from benchmark.running.machine import THREADS
from benchmark.running.run import reset_process

ONE_THREAD = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
# glibc gives large blocks back to the system when they are freed, and a training step then spends a
# third of its time on page faults for the same blocks again. Keep them.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(256 << 20)}
TRACE = signal.SIGUSR1  # makes a worker write to its stderr where it is, whatever it is doing
TRACE_SECONDS = 0.2  # for that
DISMISS_SECONDS = 5.0  # for a process that has nothing left to do
PARENT_SECONDS = 2.0  # how often a worker looks whether its parent is there


@dataclass(frozen=True)
class Worker:
    process: BaseProcess
    pipe: Connection

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        self.process.kill()
        self.process.join()

    def dismiss(self) -> None:
        """Lets a process that has answered end by itself, so that its libraries tidy up; ends it where it does not."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(DISMISS_SECONDS)
        self.stop()

    def trace(self) -> None:
        """Lets the process write where it is; not before it has answered or said something, by when it knows how."""
        if self.process.pid is not None:
            os.kill(self.process.pid, TRACE)
            time.sleep(TRACE_SECONDS)


@dataclass(frozen=True)
class Said:
    """Something that the harness logged in a worker."""

    level: int
    text: str


def spawn(act: Callable[[Any], Any], device: str, talks: bool = False) -> Worker:
    """A new process that answers each job with `act(job)`; `act` is importable, and catches what it can say in words."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process: BaseProcess = context.Process(target=_serve, args=(theirs, act, device, talks), daemon=True)
    with _environment(ONE_THREAD | KEEP_MEMORY), _without_interrupts():
        process.start()
    theirs.close()
    return Worker(process, ours)


def how_it_ended(process: BaseProcess) -> str:
    """`was killed by SIGKILL`, `ended with code 1`."""
    process.join()
    code = process.exitcode or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _serve(pipe: Connection, act: Callable[[Any], Any], device: str, talks: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    faulthandler.enable()  # a crash in C says where it was
    faulthandler.register(TRACE)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed outlives a kill
    if talks:
        logging.getLogger("benchmark").addHandler(_Teller(pipe))
        logging.getLogger("benchmark.records.lock").setLevel(logging.INFO)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    reset_process(device)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        if job is None:
            return
        answer = act(job)
        try:
            pipe.send(answer)
        except OSError:
            return


class _Teller(logging.Handler):
    """Passes on to the driver what is logged here: this process's stderr is a cell's log file."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._pipe.send(Said(record.levelno, record.getMessage()))


def _end_with(parent: int) -> None:
    """Ends this process, whatever it is doing, once its parent was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


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


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A child is born deaf to Ctrl-C, which would else hit it before it can say that it does not mind."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
