"""One speed cell: fits a method again, alone on the device, and measures how it serves."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contract import Learner
from benchmark.errors import BenchmarkError
from benchmark.evaluation import speed
from benchmark.evaluation.agreement import agreement
from benchmark.evaluation.clock import Memory, clock_of
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.evaluation.honesty import Quiet
from benchmark.evaluation.speed import Figure, Speed
from benchmark.protocol import boards
from benchmark.protocol.tasks import TaskSampler
from benchmark.protocol.tracks import Split
from benchmark.records.schema import CellRecord
from benchmark.records.speed import Latency, SpeedRecord, SpeedStore, Throughput, machine_id
from benchmark.records.store import CellStore
from benchmark.running import environment, methods
from benchmark.running.machine import condition, machine, noise, shared_gpu
from benchmark.running.plan import Cell
from benchmark.running.run import Fault, attempted, reductions, reset_process, seed_everything, split
from benchmark.running.time_spent import TimeSpent

REFERENCES = ("bias", "random")  # the first that runs in the world: a method that takes turns with each that is measured
SECONDS_TO_NOTE = 0.1  # of a warm-up that did more than answer


def chosen(cells: Sequence[Cell], every_board: bool) -> list[Cell]:
    """The cells whose speed is measured: the first seed of each method that may be.

    On each board that was asked for, or once a data set: on the first board that says it stands for the others.
    """
    found: dict[tuple[str, ...], Cell] = {}
    for cell in cells:
        one = cell.identity
        if cell.is_reference or one.seed_index:
            continue
        if every_board:
            found[one.board, one.dataset, one.method] = cell
        elif boards.load(cell.board).speed:
            found.setdefault((one.dataset, one.method), cell)
    return list(found.values())


def is_done(cell: Cell, store: SpeedStore, quietly: bool = False) -> bool:
    """Whether this machine has measured this very cell, with the same code; `quietly`: and was quiet then."""
    record = store.read(cell.key, machine_id(machine(cell.identity.device)))
    if record is None or record.status != "ok" or record.identity != cell.identity or (quietly and record.noise):
        return False
    return (record.timing_sha256, record.repeats) == (environment.timing_sha256(), speed.REPEATS)


def run_speed_cell(cell: Cell, root: Path) -> SpeedRecord:
    """Measures a cell, and writes its record. A method's exception becomes a `failed` record."""
    one = cell.identity
    reset_process(one.device)
    where = machine(one.device)
    store, name = SpeedStore(root), machine_id(where)
    with store.lock(cell.key, name):
        if is_done(cell, store):
            found = store.read(cell.key, name)
            assert found is not None
            return found
        made = split(cell.board, one.dataset, one.seed_index, cell.data_dir, one.device)
        facts: dict[str, Any] = {"identity": one, "machine": where, "machine_id": name, "versions": environment.versions()}
        facts["timing_sha256"] = environment.timing_sha256()
        seed_everything(one.seed)
        with reductions() as notes:
            measured = attempted(lambda: _measured(cell, made, CellStore(root)))
        if isinstance(measured, Fault):
            return store.write(SpeedRecord(status="failed", reason=measured.reason, traceback=measured.traceback, **facts))
        return store.write(SpeedRecord(status="ok", notes=(*dict.fromkeys(notes), *measured.pop("notes")), **facts, **measured))


def _measured(cell: Cell, made: Split, cells: CellStore) -> dict[str, Any]:
    """The fields of a record that were measured."""
    one, clock = cell.identity, clock_of(cell.identity.device)
    method = methods.build(cell.entry)
    name, reference = _reference(cell.board, one.dataset, one.seed_index, cell.data_dir, one.device)
    quiet, memory, first = Quiet(), Memory(one.device), condition(one.device)
    gc.freeze()  # what is here stays: no later collection need look through it
    if shared := shared_gpu(first):
        logging.getLogger(__name__).warning("%s is measured although %s; its figures are marked", "/".join(map(str, cell.key)), shared)
    spent, drawn = TimeSpent(one.device), TaskSampler.drawn
    world, kept = made.world.clone(), []
    with spent.fitting():
        fit_seconds = clock.time(lambda: kept.append(method.fit(world, one.seed, spent.validating(validator(made))))).seconds
    quiet.check_running()
    learner, drawn = kept[0], TaskSampler.drawn - drawn
    fit_peak = memory.host_bytes(), memory.device_bytes()
    reset_process(one.device)
    shots = speed.shots_served(made.board.shots)
    memory, before, clock = Memory(one.device), condition(one.device), clock_of(one.device)
    found = speed.measure(learner, reference, made.world, made.test, shots, clock)
    after, served = condition(one.device), clock.spent_seconds
    serve_peak = memory.host_bytes(), memory.device_bytes()
    again = _agreement(spent.asked(learner), made, shots, cell, cells)
    while_fitting = tuple(f"while it was fitted, {phrase}" for phrase in noise(first, before, 0.0))
    return {
        "shots": shots,
        "n_partners": made.world.n_partners,
        "repeats": speed.REPEATS,
        "reference": name,
        "fit_seconds": round(fit_seconds + found.extra_seconds, 4),
        "training_seconds": round(spent.training + found.extra_seconds, 4),
        "asking_seconds": round(served + spent.asking, 4),
        "train_tasks": drawn,
        "adapt_ms": _latency(found.adapt[1]),
        "adapt_and_rank_ms": _latency(found.rank),
        "throughput": {batch: _throughput(figure) for batch, figure in found.adapt.items()},
        "state_bytes": found.state_bytes,
        "parameters": learner.parameters(),
        "host_bytes": fit_peak[0],
        "serve_host_bytes": serve_peak[0],
        "device_bytes": fit_peak[1],
        "serve_device_bytes": serve_peak[1],
        "joules": found.joules,
        "agreement": again,
        "before": before,
        "after": after,
        "noise": noise(before, after, found.reference_spread) + while_fitting,
        "notes": _notes(found, fit_seconds),
    }


@lru_cache(maxsize=1)
def _reference(board: str, dataset: str, seed_index: int, data_dir: Path | None, device: str) -> tuple[str, Learner]:
    """(name, learner) of the method that takes turns with all others of a board and data set."""
    made = split(board, dataset, seed_index, data_dir, device)
    for name in REFERENCES:
        method = methods.build(methods.entry(name))
        if method.unsupported(made.world.clone()) is None:
            return name, method.fit(made.world.clone(), made.seed, validator(made))
    raise BenchmarkError(f"none of the reference methods {', '.join(REFERENCES)} runs on '{board}', '{dataset}'; measure with --no-speed")


def _latency(figure: Figure) -> Latency:
    p50, p95, p99 = (round(1e3 * figure.seconds(quantile), 6) for quantile in speed.QUANTILES)
    device = figure.device_seconds()
    return Latency(
        p50=p50,
        p95=p95,
        p99=p99,
        reference_p50=round(1e3 * figure.reference_seconds(), 6),
        device_p50=None if device is None else round(1e3 * device, 6),
    )


def _throughput(figure: Figure) -> Throughput:
    ours, theirs = (figure.at_once / seconds for seconds in (figure.seconds(), figure.reference_seconds()))
    return Throughput(entities_per_second=round(ours, 1), reference=round(theirs, 1), at_once=figure.at_once)


def _agreement(learner: Learner, made: Split, shots: int, cell: Cell, cells: CellStore) -> str:
    """With the accuracy cell, at one k; empty where there is none of the same identity."""
    record: CellRecord | None = cells.read(cell.key)
    if record is None or record.status != "ok" or record.identity != cell.identity:
        return ""
    rows = cells.rows(record)
    k = shots if shots in made.board.shots else made.board.shots[-1]
    at = np.asarray(rows["k"]) == k
    again = evaluate(learner, replace(made.board, shots=(k,)), made.world, made.test)
    return agreement(again.columns, {name: np.asarray(column, dtype=np.float64)[at] for name, column in rows.items()})


def _notes(found: Speed, fit_seconds: float) -> list[str]:
    if found.extra_seconds > max(SECONDS_TO_NOTE, 0.1 * fit_seconds):
        return [f"worked {found.extra_seconds:.2f} s in its warm-up beyond answering; charged to its fit"]
    return []
