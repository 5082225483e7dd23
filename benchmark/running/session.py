"""`run` from end to end: plan, execute, show progress, render, print the tables."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmark.data import store as data
from benchmark.errors import BenchmarkError, UsageError
from benchmark.files import checked_folder
from benchmark.protocol import boards
from benchmark.records.store import CellStore
from benchmark.reporting.markdown import text
from benchmark.reporting.pages import read, render
from benchmark.running import methods, plan, tuned
from benchmark.running.executors import local
from benchmark.running.executors.local import Outcome
from benchmark.running.plan import Cell, Plan
from benchmark.running.run import split


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


def run(request: Request) -> int:
    """Runs the cells that are not done, then prints and leaves the leaderboards; returns the exit code."""
    started = time.monotonic()
    made, workers = _plan(request), _workers(request)
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
    progress = Progress(len(todo), len(made.cells) - len(wanted) + len(todo), sys.stderr)
    first = time.monotonic()
    outcomes = local.run(todo, request.out, workers, request.device)
    try:
        for outcome in outcomes:
            progress.show(outcome)
    finally:
        outcomes.close()
        progress.end()
        last = time.monotonic()
    bad = [one for one in progress.ended if one.status in ("failed", "lost")]
    try:
        _show(made, request)
    finally:
        for line in [*_reasons(bad), *refused]:
            print(line, file=sys.stderr)
        if progress.ended:
            print(_time(progress.ended, time.monotonic() - started - (last - first)), file=sys.stderr)
    return 1 if bad or refused else 0


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


def _plan(request: Request) -> Plan:
    plan.checked_device(request.device)
    named = request.methods or request.settings
    entries = plan.known_methods(request.methods, [methods.parse_setting(one) for one in request.settings]) if named else None
    names = request.boards or tuple(boards.board_names())
    where = [] if request.untuned else tuned.folders(request.out)
    made = plan.make(names, request.datasets, entries, request.seeds, request.device, request.data_dir, where)
    if not made.cells and not made.absent:
        raise UsageError("nothing to run: these boards have no data sets")
    return made


def _workers(request: Request) -> int:
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

    def __init__(self, todo: int, total: int, stream: TextIO) -> None:
        self.ended: list[Outcome] = []
        self._total, self._kept, self._stream = total, total - todo, stream
        self._running: dict[tuple[str, str, str, int], str] = {}
        self._live = stream.isatty()
        self._started = time.monotonic()
        stream.write(f"{total} cells: {total - todo} done before, {todo} to run\n")

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
