"""`run` from end to end: plan, execute, show progress, render, print the tables."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence, Set, Sized
from dataclasses import dataclass
from pathlib import Path

from benchmark import files
from benchmark.data import store as data
from benchmark.errors import BenchmarkError, UsageError
from benchmark.files import checked_folder
from benchmark.protocol import boards
from benchmark.records.speed import SpeedStore, machine_id
from benchmark.records.store import CellStore, Key, label
from benchmark.reporting.markdown import text
from benchmark.reporting.pages import read_speed, render
from benchmark.reporting.speed import speed_text
from benchmark.reporting.tables import tables as tables_of
from benchmark.running import methods, plan, tuned
from benchmark.running.executors import acts
from benchmark.running.executors.local import Local
from benchmark.running.executors.outcome import Act, Executor, Outcome
from benchmark.running.machine import machine
from benchmark.running.plan import Cell, Plan
from benchmark.running.progress import Style, duration, progress, tell
from benchmark.running.run import split
from benchmark.running.speed import chosen, is_done


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
    cell_seconds: float | None = None  # the most that a cell may take
    style: Style = "auto"  # of the progress


def run(request: Request) -> int:
    """Runs the cells that are not done, then prints and leaves the leaderboards; returns the exit code."""
    started = time.monotonic()
    made, workers = planned(request), n_workers(request)
    store = CellStore(request.out)
    wanted = made.cells if request.fresh else unfinished(made.cells, store)
    todo, refused = _sound(wanted)
    if request.fresh:
        for cell in todo:
            store.remove(cell.key)
    if refused and not todo:
        raise BenchmarkError("\n".join(refused))
    checked_folder(request.out)
    sweep(request.out)
    first = time.monotonic()
    total = len(made.cells) - len(wanted) + len(todo)
    try:
        ended = _watch(Local(workers, request.device, request.cell_seconds), acts.accuracy, todo, total, "cells", workers, request)
        ended += _measure_speed(made, request)
    except KeyboardInterrupt:
        sweep(request.out)  # the workers are gone, and may have been writing
        raise
    last = time.monotonic()
    bad = [one for one in ended if one.is_bad]
    damaged: list[str] = []
    try:
        damaged = _show(made, request, {cell.key for cell in made.cells} - {cell.key for cell in wanted})
    finally:
        _say([*_reasons(bad), *refused, *damaged], "error", request)
    if ended and request.style != "quiet":
        _say([_time(ended, time.monotonic() - started - (last - first))], "time", request)
    return 1 if bad or refused or damaged else 0


def unfinished(cells: Sequence[Cell], store: CellStore) -> list[Cell]:
    """The cells that are not done."""
    return [cell for cell in cells if not cell.is_done(store.glance(cell.key))]


def sweep(out: Path) -> None:
    """Removes what killed writers left where a run writes."""
    for folder in ("cells", "speed", "leaderboards"):
        files.sweep(out / folder)


def _watch(executor: Executor, act: Act, todo: list[Cell], total: int, what: str, workers: int, request: Request) -> list[Outcome]:
    """Runs cells and shows each outcome as it comes; returns those that are ends."""
    shown = progress(request.style, todo, total, what, workers, sys.stderr, request.out)
    outcomes = executor.run(todo, request.out, act)
    try:
        for outcome in outcomes:
            shown.show(outcome)
    finally:
        outcomes.close()
        shown.end()
    return shown.ended


def _measure_speed(made: Plan, request: Request) -> list[Outcome]:
    """Speed, one cell after the other on a device that has nothing else to do; of methods whose accuracy is there."""
    if request.speed is False:
        return []
    accuracy, store = CellStore(request.out), SpeedStore(request.out)
    able = [cell for cell in made.cells if (record := accuracy.glance(cell.key)) and record.status == "ok" and cell.is_done(record)]
    cells = chosen(able, every_board=bool(request.speed))
    todo = [cell for cell in cells if request.fresh or not is_done(cell, store, quietly=bool(request.speed))]
    if not todo:
        return []
    for cell in todo:
        store.remove(cell.key, machine_id(machine(request.device)))
    executor = Local(1, request.device, request.cell_seconds)
    return _watch(executor, acts.speed, todo, len(cells), "speed measurements", 1, request)


def _say(lines: Sequence[str], event: str, request: Request) -> None:
    """Last words on stderr."""
    for line in lines:
        if request.style == "json":
            tell(sys.stderr, event, message=line)
        else:
            print(line, file=sys.stderr)


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
    return [f"{label(ones[0].cell.key)}{_more(ones)}: {status}: {reason}" for (status, reason), ones in groups.items()]


def _time(ended: list[Outcome], beside: float) -> str:
    """Where the time of the cells went, and what was spent `beside` them. A worker's start is in its first cell."""
    whole = sum(one.seconds for one in ended)
    parts = {"training": sum(one.training_seconds for one in ended), "adapting and scoring": sum(one.asking_seconds for one in ended)}
    parts["harness"] = max(0.0, whole - sum(parts.values()))
    shares = ", ".join(f"{name} {seconds / max(whole, 1e-9):.0%}" for name, seconds in parts.items())
    return f"time: {shares} of {duration(whole)} in cells; {duration(beside)} before and after them"


def planned(request: Request) -> Plan:
    """The cells that a command asks for; a UsageError where there are none."""
    plan.checked_device(request.device)
    if request.cell_seconds is not None and not 0 < request.cell_seconds < math.inf:
        raise UsageError(f"--cell-seconds got {request.cell_seconds:g}; wanted a number of seconds above 0")
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


def _show(made: Plan, request: Request, kept: Set[Key]) -> list[str]:
    """The tables of what was asked for, the pages, and what could not run for want of data.

    Returns a line where a cell that was `kept` as done at a glance does not bear a full look. It is forgotten.
    """
    asked = {(cell.identity.board, cell.identity.dataset, cell.identity.board_sha256) for cell in made.cells}
    store = CellStore(request.out)
    records = store.records()
    tables = tables_of(records, store.rows)
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
    return _forgotten(kept - {record.key for record in records}, store)


def _forgotten(missing: Set[Key], store: CellStore) -> list[str]:
    damaged = [key for key in missing if store.glance(key) and not store.read(key)]
    for key in damaged:
        store.remove(key)
    if not damaged:
        return []
    return [f"{label(min(damaged))}{_more(damaged)}: the record contradicts its rows and is removed; run the same command again"]


def _more(ones: Sized) -> str:
    return f" and {len(ones) - 1} more" if len(ones) > 1 else ""
