"""Where a cell's time goes: training, adapting and scoring; all the rest is the harness's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from benchmark.contract import Learner, State, Support
from benchmark.evaluation.clock import clock_of


class TimeSpent:
    """Adds up the host's seconds in a method's `fit`, its validations left out, and in its `adapt` and `score`, theirs included.

    A fit and its validations wait for the device before and after, so that none is booked for what the other has set
    going. An answer that a GPU is still computing is waited for, and counted, where the harness reads it.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.training = self.asking = 0.0
        self._wait = clock_of(device).wait

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Counts as training what happens here."""
        self._wait()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.training += time.perf_counter() - started

    def validating(self, validate: Callable[[Learner], float]) -> Callable[[Learner], float]:
        """`validate`, whose time is no training."""

        def timed(learner: Learner) -> float:
            self._wait()
            started = time.perf_counter()
            try:
                return validate(self.asked(learner))
            finally:
                self._wait()
                self.training -= time.perf_counter() - started

        return timed

    def asked(self, learner: Learner) -> Learner:
        """The same learner, its answers timed."""
        return _Asked(learner, self)


class _Asked(Learner):
    def __init__(self, learner: Learner, spent: TimeSpent) -> None:
        self._learner, self._spent = learner, spent

    def adapt(self, support: Support) -> State:
        started = time.perf_counter()
        try:
            return self._learner.adapt(support)
        finally:
            self._spent.asking += time.perf_counter() - started

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        started = time.perf_counter()
        try:
            return self._learner.score(state, partner)
        finally:
            self._spent.asking += time.perf_counter() - started
