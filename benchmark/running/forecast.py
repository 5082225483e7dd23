"""`plan`: what a `run` would do, what it would cost, and which differences its boards can show. Writes nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from benchmark.protocol import boards
from benchmark.records.schema import CellRecord
from benchmark.records.store import CellStore, Key
from benchmark.reporting.markdown import DASH
from benchmark.reporting.power import DIFFERENCE, Floats, paired_sd, tasks_to_see
from benchmark.reporting.tables import REFERENCES
from benchmark.running.costs import Cost, Past, Source, wall_seconds
from benchmark.running.plan import Cell
from benchmark.running.progress import duration
from benchmark.running.session import Request, n_workers, planned

HEADS = ("board", "data set", "cells", "done", "to run", "CPU time", "tasks", "of seeds", "sd", "tasks wanted", "seeds wanted")


@dataclass(frozen=True)
class Power:
    """What a board on a data set can show: its tasks over its seeds, and what a difference of `DIFFERENCE` wants."""

    n_tasks: int | None
    n_seeds: int
    draws: int  # seeds that ask the same tasks
    sd: float | None  # None where nothing is finished

    @property
    def tasks_wanted(self) -> int | None:
        return None if self.sd is None else tasks_to_see(self.sd)

    @property
    def seeds_wanted(self) -> int | None:
        """As many as bring the tasks wanted; None where that is not known, or no further seed brings a task."""
        wanted = self.tasks_wanted
        if wanted is None or not self.n_tasks:
            return None
        if self.draws > 1:
            return self.n_seeds if wanted <= self.n_tasks else None
        return math.ceil(wanted * self.n_seeds / self.n_tasks)


def forecast(request: Request) -> str:
    """The text of `plan`."""
    made, workers, store = planned(request), n_workers(request), CellStore(request.out)
    there = {record.key: record for record in store.records()}
    todo = [cell for cell in made.cells if not cell.is_done(there.get(cell.key))]
    past = _past(store, there, request.device)
    costs = {cell.key: past.cost(*cell.key[:3]) for cell in todo}
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in made.cells:
        groups.setdefault((cell.identity.board, cell.identity.dataset), []).append(cell)
    rows = [_line(cells, costs, _power(cells, there, store)) for cells in groups.values()]
    lines = [tabulate(rows, HEADS, tablefmt="simple", disable_numparse=True, colalign=("left", "left", *["right"] * (len(HEADS) - 2)))]
    lines += ["", *_totals(len(made.cells), [costs[cell.key] for cell in todo], workers), *_legend()]
    lines += [f"not planned, its data is not here: {dataset} ({', '.join(waiting)})" for dataset, waiting in made.absent.items()]
    return "\n".join(lines)


def _past(store: CellStore, there: Mapping[Key, CellRecord], device: str) -> Past:
    """What finished cells took on such a device; a failed one may have ended early."""
    facts = {key: store.facts(key) for key, one in there.items() if one.status != "failed" and one.identity.device == device}
    return Past((*key[:3], one.seconds) for key, one in facts.items() if one is not None and one.seconds > 0)


def _power(cells: Sequence[Cell], there: Mapping[Key, CellRecord], store: CellStore) -> Power:
    """From all finished cells of this board and data set, whether or not they are asked for."""
    one, own = cells[0].identity, boards.load(cells[0].board)
    n_seeds, draws = own.pin(one.dataset).seeds, own.draws(one.dataset)
    prints = {cell.identity.seed_index: cell.identity.fingerprint for cell in cells}
    areas: dict[str, dict[int, Floats]] = {}
    n_tasks: dict[int, int] = {}
    for (board, dataset, method, seed_index), record in there.items():
        other = record.identity
        if (board, dataset, other.board_sha256, record.status) != (one.board, one.dataset, one.board_sha256, "ok"):
            continue
        if prints.get(seed_index, other.fingerprint) != other.fingerprint or method in REFERENCES:
            continue
        areas.setdefault(method, {})[seed_index] = _area(record, store)
        n_tasks[seed_index] = record.n_tasks
    known = boards.n_test_tasks(cells[0].board, one.dataset)
    if known is None and n_tasks:
        known = round(sum(n_tasks.values()) / len(n_tasks) * n_seeds / draws)
    return Power(known, n_seeds, draws, paired_sd(areas, n_seeds // draws))


def _area(record: CellRecord, store: CellStore) -> Floats:
    """The board's metric of each task, its mean over k >= 1: [T]."""
    later = [k >= 1 for k in record.board.shots]
    by_k: Floats = store.column(record, record.board.metric).reshape(len(later), -1)
    area: Floats = by_k[later].mean(0)
    return area


def _line(cells: Sequence[Cell], costs: Mapping[Key, Cost], power: Power) -> list[str]:
    one, own = cells[0].identity, [costs[cell.key] for cell in cells if cell.key in costs]
    counts = [len(cells), len(cells) - len(own), len(own)]
    return [
        one.board,
        one.dataset,
        *(f"{count:,}" for count in counts),
        _time(own),
        DASH if power.n_tasks is None else f"{power.n_tasks:,}",
        str(power.n_seeds),
        DASH if power.sd is None else f"{power.sd:.4f}",
        DASH if power.tasks_wanted is None else f"{power.tasks_wanted:,}",
        DASH if power.seeds_wanted is None else f"{power.seeds_wanted:,}",
    ]


def _time(costs: Sequence[Cost]) -> str:
    """`3 min 5 s`; with `+ ?` where something is unknown, and `?` where all is."""
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    if costs and not known:
        return "?"
    return duration(sum(known)) + (" + ?" if len(known) < len(costs) else "")


def _totals(n_cells: int, costs: Sequence[Cost], workers: int) -> list[str]:
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    lines = [f"{n_cells:,} cells: {n_cells - len(costs):,} done, {len(costs):,} to run"]
    if known:
        wall, with_ = duration(wall_seconds(known, workers)), "1 worker" if workers == 1 else f"{workers} workers"
        lines[0] += f"; {duration(sum(known))} of CPU time, {wall} with {with_}, without speed measurements"
    by_source = Counter(cost.source for cost in costs)
    said: dict[Source, str] = {
        "itself": "the same method, board and data set",
        "another board": "the same method on another board of the data set, scaled",
        "the board's median": "the median method of the board",
    }
    lines += [f"  {by_source[source]:,} estimated from {what}" for source, what in said.items() if by_source[source]]
    if by_source["unknown"]:
        lines.append(f"  {by_source['unknown']:,} unknown (?), and not counted: no earlier cell under --out says what they take")
    return lines


def _legend() -> list[str]:
    seen = f"{DIFFERENCE:g}".removeprefix("0")
    return [
        f"wanted: to see a difference of {seen} in the board's metric (95% level, 80% power), (1.96 + 0.84)^2 sd^2 / {seen}^2 tasks;",
        "  sd is over tasks, of the paired differences between two methods: the median over the pairs of finished methods;",
        f"  {DASH} where none are finished, or no further seed brings a task",
    ]
