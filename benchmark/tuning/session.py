"""`tune` from end to end: studies side by side, their trials in worker processes, tuned files, a table.

A study looks at the validation entities of one seed. Where they are test entities of another seed (a
small data set, whose slices are all tested), that seed gets a study of its own.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from benchmark.data import store as data
from benchmark.data.catalogue import source
from benchmark.errors import UsageError
from benchmark.evaluation.evaluate import validator
from benchmark.files import write_atomic
from benchmark.protocol import boards
from benchmark.protocol.boards import Board
from benchmark.protocol.tracks import published_entities
from benchmark.running import methods, plan, tuned
from benchmark.running.executors.workers import Worker, how_it_ended, spawn
from benchmark.running.methods import Entry
from benchmark.running.run import reset_process, seed_everything, split
from benchmark.running.tuned import Study as Found
from benchmark.tuning.compare import compare
from benchmark.tuning.space import space
from benchmark.tuning.study import Budget, Study, Trial

GRACE_SECONDS = 5.0  # over the budget, before a trial counts as hanging
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Request:
    """A `tune` command as typed."""

    methods: tuple[str, ...]  # none: every method
    boards: tuple[str, ...]
    datasets: tuple[str, ...]
    budget: Budget
    device: str
    workers: int | None
    out: Path
    data_dir: Path | None
    seeds: int | None = None  # how many of a board's seeds the comparison on test entities runs


@dataclass(frozen=True)
class Search:
    """A method on one split of a board."""

    board: str  # name or path
    dataset: str
    entry: Entry
    seed_index: int
    seeds: tuple[int, ...]  # whose test entities this study does not see
    data_dir: Path | None
    device: str

    @property
    def label(self) -> str:
        return f"{boards.load(self.board).name}/{self.dataset}/{self.entry.name}/seed-{self.seed_index}"


@dataclass(frozen=True)
class Job:
    """One trial, as a worker gets it."""

    search: Search
    settings: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    score: float | None
    seconds: float
    reason: str = ""
    unsupported: bool = False


def tune(request: Request) -> int:
    """Searches, writes the tuned files and prints tuned against default; returns the exit code."""
    plan.checked_device(request.device)
    searches = _searches(request)
    for one in searches:
        space(one.entry)  # an empty range is said before anything runs
    workers = request.workers or (1 if request.device == "cuda" else len(os.sched_getaffinity(0)))
    na = _run_all(searches, request, plan.checked_count("--workers", workers))
    done = [one for one in searches if one.label not in na]
    for one in done:
        _write(one, request)
    asked = [(one.board, one.dataset, one.entry.name) for one in done]
    text, bad = compare(request.out, asked, na, request.device, workers, request.data_dir, request.seeds)
    print(text)
    return 1 if bad else 0


def _searches(request: Request) -> list[Search]:
    entries = plan.known_methods(list(request.methods), [])
    chosen = {name: boards.load(name) for name in request.boards}
    plan.check_boards(chosen)
    plan.check_datasets(list(chosen.values()), request.datasets)
    found = []
    for name, board in chosen.items():
        for dataset in [d for d in board.datasets if not request.datasets or d in request.datasets]:
            if data.find(dataset, request.data_dir) is None:
                if dataset in request.datasets:
                    raise UsageError(
                        f"data set '{dataset}' is not here; get it with `{data.fetch_command(dataset)}` ({source(dataset).terms})"
                    )
                continue
            data.verify(dataset, request.data_dir)
            for seed_index, seeds in studies_of(name, board, dataset, request.data_dir).items():
                found += [Search(name, dataset, entry, seed_index, seeds, request.data_dir, request.device) for entry in entries]
    if not found:
        raise UsageError("nothing to tune: none of these boards' data sets is here")
    return found


def studies_of(name: str, board: Board, dataset: str, data_dir: Path | None) -> dict[int, tuple[int, ...]]:
    """seed whose validation entities are searched on -> seeds that never test one of them.

    The last seed's study serves every seed but the one that tests its validation slice, if there is one.
    """
    every = plan.seed_indices(board, dataset, None)
    last = split(name, dataset, every[-1], data_dir, "cpu")
    if not len(last.validation):
        raise UsageError(f"board '{board.name}' on '{dataset}' has no validation entities, so nothing can be tuned on it")
    seen = published_entities(last, last.validation)
    tests = {s: split(name, dataset, s, data_dir, "cpu") for s in every}
    touched = [s for s, one in tests.items() if np.isin(published_entities(one, one.test), seen).any()]
    clean = tuple(s for s in every if s not in touched)
    found = {every[-1]: clean}
    for seed in touched:  # its own validation entities are not its test entities
        found[seed] = (seed,)
    return found


def run_trial(job: Job) -> Answer:
    """Fits a method with the trial's settings and scores it on the validation entities; in a worker."""
    search, started = job.search, time.perf_counter()
    try:
        reset_process(search.device)
        made = split(search.board, search.dataset, search.seed_index, search.data_dir, search.device)
        seed_everything(made.seed)
        method = methods.build(replace(search.entry, settings={**search.entry.settings, **job.settings}))
        reason = method.unsupported(made.world.clone())
        if reason is not None:
            return Answer(None, 0.0, reason, unsupported=True)
        started, validate = time.perf_counter(), validator(made)
        score = validate(method.fit(made.world.clone(), made.seed, validate))
        return Answer(score, round(time.perf_counter() - started, 3))
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Answer(None, round(time.perf_counter() - started, 3), reason)


@dataclass
class _Busy:
    worker: Worker
    search: Search
    study: Study
    trial: Trial
    since: float

    @property
    def until(self) -> float:
        return self.since + self.trial.seconds_left + GRACE_SECONDS


def _run_all(searches: Sequence[Search], request: Request, workers: int) -> dict[str, str]:
    """Runs every study to its end; returns label -> reason of those that are n/a."""
    waiting = deque((one, _study(one, request)) for one in searches)
    busy: dict[Connection, _Busy] = {}
    idle = [spawn(run_trial, request.device) for _ in range(min(workers, len(waiting)))]
    na: dict[str, str] = {}
    ended, total = 0, len(waiting)
    try:
        while waiting or busy:
            while idle and waiting:
                search, study = waiting.popleft()
                trial = study.ask()
                if trial is not None:
                    worker = idle.pop()
                    worker.pipe.send(Job(search, trial.settings))
                    busy[worker.pipe] = _Busy(worker, search, study, trial, time.monotonic())
                elif study.is_over():
                    ended += 1
                    _say(f"[{ended}/{total}] {search.label}: {_summary(study.found(search.seed_index, '', search.seeds))}")
                else:  # the rest of it is another process's; look again later
                    waiting.append((search, study))
                    time.sleep(POLL_SECONDS if not busy else 0)
                    break
            for pipe in wait(list(busy), timeout=POLL_SECONDS):
                assert isinstance(pipe, Connection)
                one = busy.pop(pipe)
                try:
                    answer = pipe.recv()
                    idle.append(one.worker)
                except (EOFError, OSError):
                    answer = Answer(None, time.monotonic() - one.since, f"its worker {how_it_ended(one.worker.process)}")
                    idle.append(spawn(run_trial, request.device))
                if answer.unsupported:
                    na[one.search.label] = answer.reason
                    ended += 1
                else:
                    waiting.appendleft((one.search, one.study))
                one.study.tell(one.trial, answer.score, answer.seconds, answer.reason)
            for pipe, one in list(busy.items()):
                if time.monotonic() > one.until:
                    one.worker.stop()
                    del busy[pipe]
                    spent = time.monotonic() - one.since
                    one.study.tell(one.trial, None, spent, f"stopped after {spent:.0f} s, when the budget of its study was spent")
                    waiting.appendleft((one.search, one.study))
                    idle.append(spawn(run_trial, request.device))
    finally:
        for worker in [*idle, *(one.worker for one in busy.values())]:
            worker.stop()
    return na


def _study(search: Search, request: Request) -> Study:
    board = boards.load(search.board)
    journal = request.out / "tuning" / board.name / search.dataset / f"{search.entry.name}-seed-{search.seed_index}.journal"
    print_ = _print(search)
    # Another split, another definition of the board or other code of the method is another study.
    name = f"{search.label}/{board.sha256[:12]}/{print_[:12]}/{plan.code_of(search.entry)[:12]}"
    distributions, defaults = space(search.entry)
    return Study(journal, name, distributions, defaults, request.budget)


def _print(search: Search) -> str:
    board = boards.load(search.board)
    return plan.fingerprints(board, search.dataset, plan.seed_indices(board, search.dataset, None), search.data_dir)[search.seed_index]


def _write(search: Search, request: Request) -> None:
    """Adds this study to the method's tuned file."""
    board = boards.load(search.board)
    file = tuned.path(request.out / tuned.FOLDER, board.name, search.dataset, search.entry.name)
    kept = {}
    if file.is_file():
        kept = {one.seed_index: one for one in tuned.read(file)}
    kept[search.seed_index] = _study(search, request).found(search.seed_index, _print(search), search.seeds)
    table = {
        "method": search.entry.name,
        "board": board.name,
        "dataset": search.dataset,
        "budget": {"trials": request.budget.trials, "seconds": request.budget.seconds},
        "study": [_as_toml(one) for _, one in sorted(kept.items())],
    }
    write_atomic(file, tomli_w.dumps(table).encode())


def _as_toml(study: Found) -> dict[str, Any]:
    return {name: value for name, value in asdict(study).items() if value is not None}


def _summary(found: Found) -> str:
    if found.best_score is None:
        return f"no trial of {found.trials} ended well"
    default = "failed" if found.default_score is None else f"{found.default_score:.4f}"
    return f"default {default}, best {found.best_score:.4f} of {found.trials} trials ({found.failed} failed) in {found.seconds:.0f} s"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
