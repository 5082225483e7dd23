"""`run` from end to end: plan, execute, show progress, render, print the tables."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmark.data import store as data
from benchmark.errors import BenchmarkError, UsageError
from benchmark.files import checked_folder
from benchmark.protocol import boards
from benchmark.records.speed import SpeedStore, machine_id
from benchmark.records.store import CellStore
from benchmark.reporting.markdown import text
from benchmark.reporting.pages import read, read_speed, render
from benchmark.reporting.speed import speed_text
from benchmark.running import methods, plan, tuned
from benchmark.running.executors import local
from benchmark.running.executors.local import Outcome
from benchmark.running.machine import machine
from benchmark.running.plan import Cell, Plan
from benchmark.running.run import split
from benchmark.running.speed import chosen, is_done, run_speed_cell


@dataclass(frozen=True)
class Request:
    """A `run` command as typed."""

    boards: tuple[str, ...]  # none: every board
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    settings: tuple[str, ...]
    seeds: int | None
    device: str
    workers: int | None
    fresh: bool
    out: Path
    data_dir: Path | None
    untuned: bool = False
    speed: bool | None = None  # on every board; on none; or once a data set, on a board that stands for the others


def run(request: Request) -> int:
    """Runs the cells that are not done, then prints and leaves the leaderboards; returns the exit code."""
    started = time.monotonic()
    made, workers = planned(request), n_workers(request)
    store = CellStore(request.out)
    wanted = [cell for cell in made.cells if request.fresh or not cell.is_done(store.read(cell.key))]
    todo, refused = _sound(wanted)
    if request.fresh:
        for cell in todo:
            store.remove(cell.key)
    if refused and not todo:
        raise BenchmarkError("\n".join(refused))
    checked_folder(request.out)
    store.sweep()
    first = time.monotonic()
    ended = _watch(local.run(todo, request.out, workers, request.device), len(todo), len(made.cells) - len(wanted) + len(todo), "cells")
    ended += _measure_speed(made, request)
    last = time.monotonic()
    bad = [one for one in ended if one.status in ("failed", "lost")]
    try:
        _show(made, request)
    finally:
        for line in [*_reasons(bad), *refused]:
            print(line, file=sys.stderr)
        if ended:
            print(_time(ended, time.monotonic() - started - (last - first)), file=sys.stderr)
    return 1 if bad or refused else 0


def _watch(outcomes: Generator[Outcome, None, None], todo: int, total: int, what: str) -> list[Outcome]:
    """Shows each outcome as it comes; returns those that are ends."""
    progress = Progress(todo, total, what, sys.stderr)
    try:
        for outcome in outcomes:
            progress.show(outcome)
    finally:
        outcomes.close()
        progress.end()
    return progress.ended


def _measure_speed(made: Plan, request: Request) -> list[Outcome]:
    """Speed, one cell after the other on a device that has nothing else to do; of methods whose accuracy is there."""
    if request.speed is False:
        return []
    accuracy, store = CellStore(request.out), SpeedStore(request.out)
    able = [cell for cell in made.cells if (record := accuracy.read(cell.key)) and record.status == "ok" and cell.is_done(record)]
    cells = chosen(able, every_board=bool(request.speed))
    todo = [cell for cell in cells if request.fresh or not is_done(cell, store, quietly=bool(request.speed))]
    if not todo:
        return []
    for cell in todo:
        store.remove(cell.key, machine_id(machine(request.device)))
    return _watch(local.run(todo, request.out, 1, request.device, run_speed_cell), len(todo), len(cells), "speed measurements")


def _sound(todo: list[Cell]) -> tuple[list[Cell], list[str]]:
    """The cells whose split can be made, and one sentence for each data set or board that is at fault.

    Also leaves the parsed columns in the cache, where the workers find them.
    """
    refused: dict[tuple[str, str], str] = {}
    checked: set[tuple[str, str]] = set()
    for cell in todo:
        where = (cell.board, cell.identity.dataset)
        if where not in checked:
            checked.add(where)
            try:
                data.verify(cell.identity.dataset, cell.data_dir)
                split(cell.board, cell.identity.dataset, cell.identity.seed_index, cell.data_dir, "cpu")
            except BenchmarkError as error:
                refused[where] = str(error)
    split.cache_clear()
    return [cell for cell in todo if (cell.board, cell.identity.dataset) not in refused], list(dict.fromkeys(refused.values()))


def _reasons(bad: list[Outcome]) -> list[str]:
    """A line for each thing that went wrong; cells that share it are counted."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for one in bad:
        groups.setdefault((one.status, one.reason), []).append(one)
    return [
        f"{_label(ones[0].cell)}{f' and {len(ones) - 1} more' if len(ones) > 1 else ''}: {status}: {reason}"
        for (status, reason), ones in groups.items()
    ]


def _time(ended: list[Outcome], beside: float) -> str:
    """Where the time of the cells went, and what was spent `beside` them. A worker's start is in its first cell."""
    whole = sum(one.seconds for one in ended)
    parts = {"training": sum(one.training_seconds for one in ended), "adapting and scoring": sum(one.asking_seconds for one in ended)}
    parts["harness"] = max(0.0, whole - sum(parts.values()))
    shares = ", ".join(f"{name} {seconds / max(whole, 1e-9):.0%}" for name, seconds in parts.items())
    minutes, seconds = divmod(round(whole), 60)
    return f"time: {shares} of {minutes} min {seconds} s in cells; {beside:.0f} s before and after them"


def planned(request: Request) -> Plan:
    """The cells that a command asks for; a UsageError where there are none."""
    plan.checked_device(request.device)
    named = request.methods or request.settings
    entries = plan.known_methods(request.methods, [methods.parse_setting(one) for one in request.settings]) if named else None
    names = request.boards or tuple(boards.board_names())
    where = [] if request.untuned else tuned.folders(request.out)
    made = plan.make(names, request.datasets, entries, request.seeds, request.device, request.data_dir, where)
    if not made.cells and not made.absent:
        raise UsageError("nothing to run: these boards have no data sets")
    return made


def n_workers(request: Request) -> int:
    """As many as were asked for; else one a core, and one on a GPU."""
    if request.workers is not None:
        return plan.checked_count("--workers", request.workers)
    return 1 if request.device == "cuda" else len(os.sched_getaffinity(0))


def _show(made: Plan, request: Request) -> None:
    """The tables of what was asked for, the pages, and what could not run for want of data."""
    asked = {(cell.identity.board, cell.identity.dataset, cell.identity.board_sha256) for cell in made.cells}
    tables = read(request.out)
    for table in tables:
        if (table.board, table.dataset, table.board_sha256) in asked:
            print(text(table) + "\n")
    for measured in read_speed(request.out):
        if (measured.board, measured.dataset, measured.board_sha256) in asked:
            print(speed_text(measured) + "\n")
    if tables:
        for path in render(request.out, made=tables):
            print(f"page: {path}")
    for dataset, waiting in made.absent.items():
        print(f"not run, its data is not here: {dataset} ({', '.join(waiting)})")
    if made.absent:
        print("what each takes, and its terms, says `python -m benchmark data info NAME`")


def _label(cell: Cell) -> str:
    board, dataset, method, seed_index = cell.key
    return f"{board}/{dataset}/{method}/seed-{seed_index}"


class Progress:
    """Cells done, running, failed and the time left: one live line on a terminal, plain lines in a pipe."""

    def __init__(self, todo: int, total: int, what: str, stream: TextIO) -> None:
        self.ended: list[Outcome] = []
        self._total, self._kept, self._stream = total, total - todo, stream
        self._running: dict[tuple[str, str, str, int], str] = {}
        self._live = stream.isatty()
        self._started = time.monotonic()
        stream.write(f"{total} {what}: {total - todo} done before, {todo} to run\n")

    def show(self, outcome: Outcome) -> None:
        key = outcome.cell.key
        if outcome.status == "running":
            self._running[key] = _label(outcome.cell)
        else:
            self._running.pop(key, None)
            self.ended.append(outcome)
            if not self._live:
                self._stream.write(
                    f"[{self._kept + len(self.ended)}/{self._total}] {_label(outcome.cell)} {outcome.status} "
                    f"in {outcome.seconds:.1f} s{self._left()}\n"
                )
                self._stream.flush()
        if self._live:
            width = shutil.get_terminal_size().columns
            self._stream.write(f"\r\x1b[2K{self._line()[: width - 1]}")
            self._stream.flush()

    def _line(self) -> str:
        failed = sum(one.status in ("failed", "lost") for one in self.ended)
        now = ", ".join(self._running.values())
        done = self._kept + len(self.ended)
        return f"{done}/{self._total} done, {len(self._running)} running, {failed} failed{self._left()}  {now}"

    def _left(self) -> str:
        remaining = self._total - self._kept - len(self.ended)
        if not self.ended or not remaining:
            return ""
        seconds = (time.monotonic() - self._started) / len(self.ended) * remaining
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"

    def end(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[2K")
        self._stream.flush()
