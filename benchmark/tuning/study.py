"""One search: a method on one split. Its trials lie in a journal that several processes may share.

Trial 0 is the default. The others come from the tree-structured Parzen estimator (James Bergstra et al.
2011, Algorithms for Hyper-Parameter Optimization; Takuya Akiba et al. 2019, Optuna), seeded by the
study and the trial's number, so that a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from benchmark.protocol.seeds import derive_seed
from benchmark.running.tuned import Study as Found

ENDED = (TrialState.COMPLETE, TrialState.FAIL)
RANDOM_TRIALS = 5  # before the estimator has something to go by


@dataclass(frozen=True)
class Budget:
    """The same for every method."""

    trials: int
    seconds: float  # of fitting and scoring, over all trials of a study


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
            held: Any = _Held()
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=held))
            self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)

    def ask(self) -> Trial | None:
        """The next trial, or None where the budget is spent or given out to other processes."""
        with self._lock:
            self._reap()
            given = [t for t in self._trials() if t.state in (*ENDED, TrialState.RUNNING)]
            left = self._budget.seconds - sum(_seconds(t) for t in given)
            most = self._budget.trials if self._space else 1  # with nothing to search the default is all there is
            if len(given) >= most or left <= 0:
                return None
            if not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(self._defaults)
            number = len(given)
            self._study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=RANDOM_TRIALS, seed=derive_seed(self._name, "trial", number) % 2**32
            )
            trial = self._study.ask(self._space)
            trial.set_user_attr("owner", _owner(os.getpid()))
            return Trial(trial, dict(trial.params), left)

    def tell(self, trial: Trial, score: float | None, seconds: float, reason: str = "") -> None:
        """How a trial went; no score means that it failed, for `reason`."""
        with self._lock:
            trial.handle.set_user_attr("seconds", seconds)
            if reason:
                trial.handle.set_user_attr("reason", reason)
            self._study.tell(trial.handle, score, state=TrialState.COMPLETE if score is not None else TrialState.FAIL)

    def is_over(self) -> bool:
        """Whether nothing is left to run, here or in another process."""
        with self._lock:
            self._reap()
            states = [t.state for t in self._trials()]
            ended = sum(state in ENDED for state in states)
            spent = sum(_seconds(t) for t in self._trials()) >= self._budget.seconds
            most = self._budget.trials if self._space else 1
            return TrialState.RUNNING not in states and (ended >= most or (spent and ended > 0))

    def found(self, seed_index: int, fingerprint: str, seeds: tuple[int, ...]) -> Found:
        """What the search came to; the default where nothing beat it."""
        ended = [t for t in self._trials() if t.state in ENDED]
        scored = [t for t in ended if t.value is not None]
        best = max(scored, key=lambda t: (t.value, -t.number), default=None)
        params = best.params if best is not None else self._defaults
        return Found(
            seed_index,
            fingerprint,
            seeds,
            {name: value for name, value in params.items() if value != self._defaults[name]},
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
            if trial.state == TrialState.RUNNING and not _is_alive(trial.user_attrs.get("owner", "")):
                optuna.Trial(self._study, trial._trial_id).set_user_attr("abandoned", True)
                self._study.tell(trial.number, state=TrialState.FAIL)
                wanted = trial.system_attrs.get("fixed_params", {}) | trial.params
                if wanted.keys() == self._space.keys():  # killed before all were drawn, it is simply drawn again
                    self._study.enqueue_trial(wanted)


def _seconds(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get("seconds", 0.0))


def _owner(pid: int) -> str:
    """Process and machine, and when the process began: numbers are used again."""
    return f"{platform.node()}/{pid}/{_began(pid)}"


def _began(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_alive(owner: str) -> bool:
    node, _, rest = owner.partition("/")
    pid, _, began = rest.partition("/")
    if node != platform.node() or not pid.isdigit():
        return bool(node)  # another machine's, which cannot be looked at from here
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, PermissionError):
        return False
    return _began(int(pid)) == began
