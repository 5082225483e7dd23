"""Trials in worker processes, study by study: one that hangs is stopped, one that dies costs itself."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmark.evaluation.evaluate import validator
from benchmark.protocol import boards
from benchmark.running import methods
from benchmark.running.executors.workers import Worker, how_it_ended, spawn
from benchmark.running.methods import Entry
from benchmark.running.run import reset_process, seed_everything, split
from benchmark.running.tuned import Study as Found
from benchmark.tuning.study import Study, Trial

GRACE_SECONDS = 15.0  # for starting a worker and cutting a split, before a trial counts as hanging
POLL_SECONDS = 2.0


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


def run_all(studies: Sequence[tuple[Search, Study]], workers: int, device: str) -> dict[str, str]:
    """Runs every study to its end; returns label -> reason of those that are n/a."""
    waiting = deque(studies)
    busy: dict[Connection, _Busy] = {}
    idle = [spawn(run_trial, device) for _ in range(min(workers, len(waiting)))]
    na: dict[str, str] = {}
    told: set[str] = set()
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
                    if study.na:
                        na[search.label] = study.na
                        continue
                    _say(f"[{ended}/{total}] {search.label}: {_summary(study.found(search.seed_index, '', search.seeds, ''))}{_why(study)}")
                else:  # the rest of it is another process's; look again later
                    if search.label not in told:
                        told.add(search.label)
                        _say(f"{search.label} waits for the trials of {study.waits_for()}")
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
                    idle.append(spawn(run_trial, device))
                if answer.unsupported:
                    one.study.not_applicable(one.trial, answer.reason)
                else:
                    one.study.tell(one.trial, answer.score, answer.seconds, answer.reason)
                waiting.appendleft((one.search, one.study))
            for pipe, one in list(busy.items()):
                if time.monotonic() > one.until:
                    one.worker.stop()
                    del busy[pipe]
                    spent = one.trial.seconds_left
                    one.study.tell(one.trial, None, spent, f"stopped after {spent:.0f} s, the most that a trial of this budget may take")
                    waiting.appendleft((one.search, one.study))
                    idle.append(spawn(run_trial, device))
    finally:
        for worker in [*idle, *(one.worker for one in busy.values())]:
            worker.stop()
    return na


def _summary(found: Found) -> str:
    if found.best_score is None:
        return f"no trial of {found.trials} ended well"
    default = "failed" if found.default_score is None else f"{found.default_score:.4f}"
    return f"default {default}, best {found.best_score:.4f} of {found.trials} trials ({found.failed} failed) in {found.seconds:.0f} s"


def _why(study: Study) -> str:
    """What went wrong first, where trials failed."""
    reasons = study.reasons()
    return f"; the first failed: {reasons[0]}" if reasons else ""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
