"""One cell: world and tasks, fit, adapt and score, a record."""

from __future__ import annotations

import os
import random
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from benchmark.contract import Reduced
from benchmark.data import store as data
from benchmark.data.catalogue import source
from benchmark.errors import BenchmarkError, MethodError
from benchmark.evaluation.evaluate import Evaluation, evaluate, validator
from benchmark.evaluation.references import reference
from benchmark.protocol import boards, tracks
from benchmark.protocol.boards import FROZEN, Board
from benchmark.protocol.fingerprint import check_fingerprint
from benchmark.protocol.tracks import Split
from benchmark.records.schema import BoardFacts, CellRecord, Identity
from benchmark.records.store import CellStore
from benchmark.running import environment, methods
from benchmark.running.machine import THREADS, machine
from benchmark.running.plan import Cell
from benchmark.running.time_spent import TimeSpent

Status = Literal["ok", "failed", "unsupported"]


def reset_process(device: str) -> None:
    """Sets every global switch that could move a number, whatever the cell before has done to it."""
    torch.set_num_threads(THREADS)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    torch.set_flush_denormal(False)
    torch.autograd.set_detect_anomaly(False)
    torch.use_deterministic_algorithms(device == "cuda", warn_only=True)
    if device == "cuda":  # cuBLAS adds in one order only with a workspace of its own, which it reads of when CUDA starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    np.seterr(all="warn", under="ignore")


@contextmanager
def own_process_state() -> Iterator[None]:
    """Gives a notebook its own switches back after cells ran in its process."""
    threads, kind, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    precision, anomaly, floats = torch.get_float32_matmul_precision(), torch.is_anomaly_enabled(), np.geterr()
    streams = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(kind)
        torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn)
        torch.set_float32_matmul_precision(precision)
        torch.autograd.set_detect_anomaly(anomaly)
        np.seterr(**floats)
        torch.set_rng_state(streams[0])
        random.setstate(streams[1])
        np.random.set_state(streams[2])


@lru_cache(maxsize=2)
def split(board: str, dataset: str, seed_index: int, data_dir: Path | None, device: str) -> Split:
    """The split of one seed on `device`, its fingerprint checked against the board's pin."""
    loaded = boards.load(board)
    pins = loaded.pin(dataset).fingerprints
    made = tracks.cut(loaded, data.load(dataset, data_dir), seed_index)
    if pins:
        check_fingerprint(loaded.name, dataset, seed_index, made.fingerprint, pins[seed_index])
    return made.to(device)


def run_cell(cell: Cell, store: CellStore) -> CellRecord:
    """Runs a cell unless it is done, and writes its record.

    A method's exception becomes a `failed` record. Raises BenchmarkError, and records nothing, where
    the split or the disk is at fault.
    """
    with store.lock(cell.key):
        finished = store.read(cell.key)
        if finished is not None and cell.is_done(finished):
            return finished
        one = cell.identity
        reset_process(one.device)
        made = split(cell.board, one.dataset, one.seed_index, cell.data_dir, one.device)
        one = one.model_copy(update={"fingerprint": made.fingerprint})
        seed_everything(one.seed)
        return store.write(*_measure(cell, one, made))


def _measure(cell: Cell, one: Identity, made: Split) -> tuple[CellRecord, pa.Table | None]:
    spent = TimeSpent(one.device)
    with reductions() as notes:
        record, rows = _fit_and_ask(cell, one, made, spent)
    seconds = {"training_seconds": round(spent.training, 3), "asking_seconds": round(spent.asking, 3)}
    return record.model_copy(update={"tuning": cell.entry.tuning, "notes": tuple(dict.fromkeys(notes)), **seconds}), rows


@contextmanager
def reductions() -> Iterator[list[str]]:
    """What was said of work that went on with less; other warnings are shown as ever."""
    notes: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def take(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, Reduced):
                notes.append(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = take
        warnings.simplefilter("always", Reduced)
        yield notes


def _fit_and_ask(cell: Cell, one: Identity, made: Split, spent: TimeSpent) -> tuple[CellRecord, pa.Table | None]:
    started = time.perf_counter()
    fitted = started
    try:
        if cell.is_reference:
            found = _with_frozen(made, lambda part: reference(cell.entry.name, part.board, part.world, part.test))
            record = _record(one, made, found, fitted - started, time.perf_counter() - fitted)
            return record, _rows(found)
        method = methods.build(cell.entry)
        reason = method.unsupported(made.world.clone())
        if reason is not None:
            return _record(one, made, status="unsupported", reason=reason), None
        # A copy: what a method writes into its world may reach neither the harness nor the next method.
        with spent.fitting():
            learner = method.fit(made.world.clone(), one.seed, spent.validating(validator(made)))
        fitted = time.perf_counter()
        reset_process(one.device)
        found = evaluate(spent.asked(learner), made.board, made.world, made.test)
        evaluated = time.perf_counter()

        def again(part: Split) -> Evaluation:
            if part is made:
                return found
            with spent.fitting():
                frozen = method.fit(part.world.clone(), one.seed, spent.validating(validator(part)))
            reset_process(one.device)
            return evaluate(spent.asked(frozen), part.board, part.world, part.test)

        whole = _with_frozen(made, again)
        return _record(one, made, whole, fitted - started, evaluated - fitted, parameters=learner.parameters()), _rows(whole)
    except MethodError as error:
        reason, trace = str(error), traceback.format_exc()
    except BenchmarkError:
        raise
    except (Exception, SystemExit) as error:
        reason, trace = f"{type(error).__name__}: {error}".splitlines()[0], traceback.format_exc()
    return _record(one, made, status="failed", reason=reason, trace=trace), None


def _with_frozen(made: Split, measure: Callable[[Split], Evaluation]) -> Evaluation:
    """What `measure` finds; on the track `drift` with the board's metric as it is without a fit since the first window."""
    found = measure(made)
    if made.board.track != "drift":
        return found
    frozen = found if made.frozen is None else measure(made.frozen)
    return replace(found, columns={**found.columns, FROZEN + made.board.metric: frozen.columns[made.board.metric]})


def _record(
    one: Identity,
    made: Split,
    found: Evaluation | None = None,
    fit_seconds: float = 0.0,
    evaluate_seconds: float = 0.0,
    parameters: int = 0,
    status: Status = "ok",
    reason: str = "",
    trace: str = "",
) -> CellRecord:
    board = made.board
    facts = BoardFacts(
        title=board.title,
        description=board.description,
        track=board.track,
        goal=board.goal,
        cut=board.cut,
        shots=board.shots,
        relevant_from=board.relevant_from,
        metric=board.metric,
        higher_is_better=board.higher_is_better,
        metrics=board.metrics,
        n_seeds=board.pin(made.dataset).seeds,
        synthetic=made.synthetic,
        terms=source(made.dataset).terms,
        draws=board.draws(made.dataset),
        **_published(board, made.dataset),
    )
    names = [*found.columns, *found.whole] if found else []
    summary = {name: {k: found.mean(name, k) for k in found.shots} for name in names} if found else {}
    return CellRecord(
        identity=one,
        board=facts,
        status=status,
        reason=reason,
        traceback=trace,
        n_tasks=len(made.test),
        counts=made.counts,
        summary=summary,
        fit_seconds=round(fit_seconds, 3),
        evaluate_seconds=round(evaluate_seconds, 3),
        parameters=parameters,
        machine=machine(one.device),
        versions=environment.versions(),
    )


def _published(board: Board, dataset: str) -> dict[str, Any]:
    """What a preset's paper says of its rows on this data set."""
    rows = [(methods.entry(row.method, dict(row.settings)).name, row) for row in board.rows]
    return {
        "published": {name: dict(row.published[dataset]) for name, row in rows if dataset in row.published},
        "called": {name: row.called for name, row in rows if row.called},
    }


def _rows(found: Evaluation) -> pa.Table:
    """A row a (k, task): the unit of every interval. Tasks are numbered, users are not named."""
    task = np.tile(np.arange(found.n_tasks, dtype=np.int32), len(found.shots))
    k = np.repeat(np.array(found.shots, dtype=np.int32), found.n_tasks)
    return pa.table({"task": task, "k": k, **found.columns})


def seed_everything(seed: int) -> None:
    """Methods carry their own generators; one that forgets is still repeatable."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
