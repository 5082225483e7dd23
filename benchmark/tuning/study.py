"""One search: a method on one split. Its trials lie in a journal that several processes may share.

Trial 0 is the default. The others come from the tree-structured Parzen estimator (James Bergstra et al.
2011, Algorithms for Hyper-Parameter Optimization; Takuya Akiba et al. 2019, Optuna), seeded by the
study and the trial's number, so that a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from benchmark.files import write_atomic
from benchmark.protocol.seeds import derive_seed
from benchmark.running.tuned import Study as Found

ENDED = (TrialState.COMPLETE, TrialState.FAIL)
RANDOM_TRIALS = 5  # before the estimator has something to go by
ELSEWHERE_SECONDS = 60.0  # beyond its own, before a trial of another machine counts as lost
LEAST_TRIALS = 4  # that a study's seconds suffice for, however long each takes


@dataclass(frozen=True)
class Budget:
    """The same for every method."""

    trials: int
    seconds: float  # of fitting and scoring, over all trials of a study

    @property
    def seconds_a_trial(self) -> float:
        """One that hangs leaves time for others."""
        return self.seconds / min(self.trials, LEAST_TRIALS)


@dataclass(frozen=True)
class Trial:
    handle: optuna.Trial
    settings: dict[str, Any]
    seconds_left: float


class _Held:
    """The journal's lock: a study writes under its own, which dies with its process where Optuna's would stay behind."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


class Study:
    """`ask` for a trial, `tell` how it went."""

    def __init__(self, journal: Path, name: str, space: dict[str, BaseDistribution], defaults: dict[str, Any], budget: Budget) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        journal.parent.mkdir(parents=True, exist_ok=True)
        self._name, self._space, self._defaults, self._budget = name, space, defaults, budget
        self._lock = FileLock(f"{journal}.lock")
        with self._lock:
            _drop_torn_line(journal)
            held: Any = _Held()
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=held))
            self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)

    def ask(self) -> Trial | None:
        """The next trial, or None where the budget is spent or given out to other processes."""
        with self._lock:
            self._reap()
            given = [t for t in self._trials() if t.state in (*ENDED, TrialState.RUNNING)]
            left = self._budget.seconds - sum(_seconds(t) for t in given)
            if len(given) >= self._most or left <= 0 or self.na:
                return None
            if not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(self._defaults)
            number = len(given)
            self._study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=RANDOM_TRIALS, seed=derive_seed(self._name, "trial", number) % 2**32
            )
            trial = self._study.ask(self._space)
            trial.set_user_attr("owner", _owner(os.getpid()))
            return Trial(trial, dict(trial.params), min(left, self._budget.seconds_a_trial))

    def tell(self, trial: Trial, score: float | None, seconds: float, reason: str = "") -> None:
        """How a trial went; no score means that it failed, for `reason`."""
        with self._lock:
            trial.handle.set_user_attr("seconds", seconds)
            if reason:
                trial.handle.set_user_attr("reason", reason)
            self._study.tell(trial.handle, score, state=TrialState.COMPLETE if score is not None else TrialState.FAIL)

    def not_applicable(self, trial: Trial, reason: str) -> None:
        """The method cannot run in this world: there is nothing to search, and this was no trial."""
        with self._lock:
            trial.handle.set_user_attr("abandoned", True)
            self._study.tell(trial.handle, state=TrialState.FAIL)
            self._study.set_user_attr("n/a", reason)

    @property
    def na(self) -> str:
        """Why the method cannot run in this world; empty where it can."""
        return str(self._study.user_attrs.get("n/a", ""))

    def waits_for(self) -> str:
        """Whose trials are still running."""
        return ", ".join(str(t.user_attrs.get("owner", "?")) for t in self._trials() if t.state == TrialState.RUNNING)

    @property
    def _most(self) -> int:
        return self._budget.trials if self._space else 1  # with nothing to search the default is all there is

    def is_over(self) -> bool:
        """Whether nothing is left to run, here or in another process."""
        with self._lock:
            self._reap()
            states = [t.state for t in self._trials()]
            ended = sum(state in ENDED for state in states)
            spent = sum(_seconds(t) for t in self._trials()) >= self._budget.seconds
            return bool(self.na) or (TrialState.RUNNING not in states and (ended >= self._most or spent))

    def found(self, seed_index: int, fingerprint: str, seeds: tuple[int, ...], code_sha256: str) -> Found:
        """What the search came to; the default where nothing beat it."""
        ended = [t for t in self._trials() if t.state in ENDED][: self._most]  # a smaller budget than last time sees its part alone
        scored = [t for t in ended if t.value is not None]
        best = max(scored, key=lambda t: (t.value, -t.number), default=None)
        params = best.params if best is not None else self._defaults
        return Found(
            seed_index=seed_index,
            fingerprint=fingerprint,
            seeds=seeds,
            code_sha256=code_sha256,
            settings={name: value for name, value in params.items() if value != self._defaults[name]},
            trials=len(ended),
            failed=len(ended) - len(scored),
            seconds=round(sum(_seconds(t) for t in ended), 1),
            default_score=next((t.value for t in scored if t.params == self._defaults), None),
            best_score=best.value if best is not None else None,
        )

    def reasons(self) -> list[str]:
        """Why trials failed."""
        return [str(t.user_attrs["reason"]) for t in self._trials() if "reason" in t.user_attrs]

    def _trials(self) -> list[FrozenTrial]:
        """Those that count."""
        return [t for t in self._study.get_trials(deepcopy=False) if "abandoned" not in t.user_attrs]

    def _reap(self) -> None:
        """A trial whose process is gone is no trial: it is given out again, under another number.

        It ends as failed, since the estimator looks at every other end, and is marked, so that it does not count.
        """
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING and not self._is_alive(trial):
                optuna.Trial(self._study, trial._trial_id).set_user_attr("abandoned", True)
                self._study.tell(trial.number, state=TrialState.FAIL)
                wanted = trial.system_attrs.get("fixed_params", {}) | trial.params
                if wanted.keys() == self._space.keys():  # killed before all were drawn, it is simply drawn again
                    self._study.enqueue_trial(wanted)

    def _is_alive(self, trial: FrozenTrial) -> bool:
        """Whether the process that runs it is there; of another machine's, whether it may be, for as long as a trial may take."""
        owner = str(trial.user_attrs.get("owner", ""))
        if not owner or owner.partition("/")[0] == platform.node():
            return _is_alive_here(owner)
        return _elapsed(trial) < self._budget.seconds_a_trial + ELSEWHERE_SECONDS


def _seconds(trial: FrozenTrial) -> float:
    """What a trial took, or has taken so far."""
    return _elapsed(trial) if trial.state == TrialState.RUNNING else float(trial.user_attrs.get("seconds", 0.0))


def _elapsed(trial: FrozenTrial) -> float:
    return (datetime.now() - trial.datetime_start).total_seconds() if trial.datetime_start else 0.0


def _drop_torn_line(journal: Path) -> None:
    """A writer that was killed may leave half a line, which no reader could pass."""
    if journal.is_file() and not (content := journal.read_bytes()).endswith(b"\n"):
        write_atomic(journal, content[: content.rfind(b"\n") + 1])


def _owner(pid: int) -> str:
    """Process and machine, and when the process began: numbers are used again."""
    return f"{platform.node()}/{pid}/{_began(pid)}"


def _began(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_alive_here(owner: str) -> bool:
    pid, _, began = owner.partition("/")[2].partition("/")
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, PermissionError):
        return False
    return _began(int(pid)) == began
