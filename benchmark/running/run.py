"""One cell: world and tasks, fit, adapt and score, a record."""

from __future__ import annotations

import os
import random
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch

from benchmark.contract import Reduced
from benchmark.data import store as data
from benchmark.errors import BenchmarkError, MethodError
from benchmark.evaluation.evaluate import Evaluation, evaluate, validator
from benchmark.evaluation.references import reference
from benchmark.protocol import boards, tracks
from benchmark.protocol.boards import FROZEN
from benchmark.protocol.fingerprint import check_fingerprint
from benchmark.protocol.tracks import Split
from benchmark.records.schema import CellRecord, Identity, RunFacts, Status
from benchmark.records.store import CellStore
from benchmark.running import methods
from benchmark.running.machine import THREADS, machine
from benchmark.running.plan import Cell
from benchmark.running.time_spent import TimeSpent
from benchmark.running.written import record_of, rows_of


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


@dataclass(frozen=True)
class Finished:
    """A cell's record, and what its run took; zeros where another run made it and does not say."""

    record: CellRecord
    facts: RunFacts

    @property
    def status(self) -> Status:
        return self.record.status

    @property
    def reason(self) -> str:
        return self.record.reason

    @property
    def traceback(self) -> str:
        return self.facts.traceback

    @property
    def training_seconds(self) -> float:
        return self.facts.training_seconds

    @property
    def asking_seconds(self) -> float:
        return self.facts.asking_seconds


def run_cell(cell: Cell, store: CellStore) -> Finished:
    """Runs a cell unless it is done, and writes its record.

    A method's exception becomes a `failed` record. Raises BenchmarkError, and records nothing, where
    the split or the disk is at fault.
    """
    with store.lock(cell.key):
        finished = store.read(cell.key)
        if finished is not None and cell.is_done(finished):
            return Finished(finished, store.facts(cell.key) or RunFacts())
        started, one = time.perf_counter(), cell.identity
        reset_process(one.device)
        made = split(cell.board, one.dataset, one.seed_index, cell.data_dir, one.device)
        one = one.model_copy(update={"fingerprint": made.fingerprint})
        seed_everything(one.seed)
        record, rows, facts = _measure(cell, one, made)
        facts = facts.model_copy(update={"seconds": round(time.perf_counter() - started, 3)})
        return Finished(store.write(record, rows, facts), facts)


Measured = tuple[CellRecord, pa.Table | None, RunFacts]


def _measure(cell: Cell, one: Identity, made: Split) -> Measured:
    spent = TimeSpent(one.device)
    with reductions() as notes:
        found = attempted(lambda: _fit_and_ask(cell, one, made, spent))
    if isinstance(found, Fault):
        failed = record_of(one, made, status="failed", reason=found.reason)
        found = failed, None, RunFacts(traceback=found.traceback)
    record, rows, facts = found
    record = record.model_copy(update={"tuning": cell.entry.tuning, "notes": tuple(dict.fromkeys(notes))})
    seconds = {"training_seconds": round(spent.training, 3), "asking_seconds": round(spent.asking, 3)}
    return record, rows, facts.model_copy(update={**seconds, "machine": machine(one.device)})


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


Found = TypeVar("Found")


@dataclass(frozen=True)
class Fault:
    """Why a method's cell failed: one sentence, and where."""

    reason: str
    traceback: str


def attempted(work: Callable[[], Found]) -> Found | Fault:
    """What `work` gives, or the fault of the method in it. A BenchmarkError that is none of the method's is raised on."""
    try:
        return work()
    except MethodError as error:
        return Fault(str(error), traceback.format_exc())
    except BenchmarkError:
        raise
    except (Exception, SystemExit) as error:
        return Fault(f"{type(error).__name__}: {error}".splitlines()[0], traceback.format_exc())


def _fit_and_ask(cell: Cell, one: Identity, made: Split, spent: TimeSpent) -> Measured:
    started = time.perf_counter()
    fitted = started
    if cell.is_reference:
        found = _with_frozen(made, lambda part: reference(cell.entry.name, part.board, part.world, part.test))
        return record_of(one, made, found), rows_of(found), _facts(started, fitted, time.perf_counter())
    method = methods.build(cell.entry)
    reason = method.unsupported(made.world.clone())
    if reason is not None:
        return record_of(one, made, status="unsupported", reason=reason), None, RunFacts()
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
    return record_of(one, made, whole, learner.parameters()), rows_of(whole), _facts(started, fitted, evaluated)


def _facts(started: float, fitted: float, evaluated: float) -> RunFacts:
    return RunFacts(fit_seconds=round(fitted - started, 3), evaluate_seconds=round(evaluated - fitted, 3))


def _with_frozen(made: Split, measure: Callable[[Split], Evaluation]) -> Evaluation:
    """What `measure` finds; on the track `drift` with the board's metric as it is without a fit since the first window."""
    found = measure(made)
    if made.board.track != "drift":
        return found
    frozen = found if made.frozen is None else measure(made.frozen)
    return replace(found, columns={**found.columns, FROZEN + made.board.metric: frozen.columns[made.board.metric]})


def seed_everything(seed: int) -> None:
    """Methods carry their own generators; one that forgets is still repeatable."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
