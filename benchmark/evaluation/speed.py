"""Speed: what it takes to meet a new entity, and what must be stored to serve her.

Each figure is the time of a call on an idle device until the device is idle again, after a warm-up on
made-up tasks. Supports are drawn anew for each call, and some of the timed answers are held against those of a
copy that was never asked before, so that nothing is gained by keeping answers; what a method does in its
warm-up beyond answering is charged to its fit. A reference method takes turns with the one that is
measured, task by task: a busy machine slows both, and their ratio holds.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmark.contract import Learner, State, Support, World, fits, halved
from benchmark.evaluation.answers import checked, checked_state
from benchmark.evaluation.clock import Clock, Took
from benchmark.evaluation.honesty import Quiet, check_held, check_ranks, check_repeats, check_states, copied, copy_of, held_bytes
from benchmark.evaluation.visitors import Visitors
from benchmark.protocol.boards import ALL
from benchmark.protocol.tasks import Tasks

REPEATS, AGAIN = 200, 50
WARM_UP, LEAST_WARM_UP, WARM_UP_SECONDS = 20, 3, 0.5  # calls; and the least of them, where they take longer than this together
METER_SECONDS = 0.5
BATCHES = (1, 32, 1024)
SHOWN = 5  # ratings of an entity, or as many as the board comes to
TOP = 10
QUANTILES = (0.50, 0.95, 0.99)

Act = Callable[[Support], object]


@dataclass(frozen=True)
class Figure:
    """The same work, repeat after repeat, and the reference's beside it."""

    took: tuple[Took, ...]
    reference: tuple[Took, ...]
    extra_seconds: float  # of the warm-up, beyond what as many repeats take
    at_once: int  # entities; fewer than asked for where the device's memory did not bear them

    def seconds(self, quantile: float = 0.5) -> float:
        return float(np.quantile([one.seconds for one in self.took], quantile))

    def reference_seconds(self, quantile: float = 0.5) -> float:
        return float(np.quantile([one.seconds for one in self.reference], quantile))

    def device_seconds(self, quantile: float = 0.5) -> float | None:
        own = [one.device_seconds for one in self.took if one.device_seconds is not None]
        return float(np.quantile(own, quantile)) if own else None

    @property
    def reference_spread(self) -> float:
        """The middle half of the reference's repeats, over their median: how restless the machine was."""
        return (self.reference_seconds(0.75) - self.reference_seconds(0.25)) / self.reference_seconds()


@dataclass(frozen=True)
class Speed:
    """All figures of a learner."""

    shots: int
    adapt: dict[int, Figure]  # entities at once -> figure
    rank: Figure  # one entity: adapt, score every partner, take the first ten
    state_bytes: float  # an entity
    first_seconds: float  # the very first answer
    cores: float  # that were busy for this process while it was timed
    joules: float | None  # an entity, adapted in the largest batch

    @property
    def extra_seconds(self) -> float:
        """What the first answer and the warm-ups took beyond answering."""
        first = max(0.0, self.first_seconds - self.rank.seconds(0.95))
        return first + sum(figure.extra_seconds for figure in (*self.adapt.values(), self.rank))

    @property
    def reference_spread(self) -> float:
        return max(figure.reference_spread for figure in (self.adapt[1], self.rank))


def shots_served(shots: Sequence[int]) -> int:
    """How much of an entity is shown: the most that the board asks for up to SHOWN, else its least; SHOWN of a whole history."""
    later = [k for k in shots if 1 <= k < ALL]
    return max((k for k in later if k <= SHOWN), default=min(later, default=SHOWN))


def adapted(learner: Learner, support: Support) -> State:
    """What is timed as adaptation."""
    with torch.enable_grad():
        return learner.adapt(support)


def ranked(learner: Learner, support: Support) -> torch.Tensor:
    """What is timed as adaptation and ranking: the first ten of the whole catalogue, on the host."""
    state = adapted(learner, support)
    with torch.no_grad():
        scores = learner.score(state)
        return scores.topk(min(TOP, scores.shape[1])).indices.cpu()


def measure(learner: Learner, reference: Learner, world: World, tasks: Tasks, shots: int, clock: Clock, repeats: int = REPEATS) -> Speed:
    """Every figure of `learner`, with `reference` beside it.

    Raises MethodError where a timing would not be honest: the learner remembers, answers otherwise than it does untimed, or
    leaves work behind.
    """
    visitors, untouched, quiet = Visitors(tasks, world, shots), copy_of(learner), Quiet()
    first = clock.time(_answers, learner, visitors.made_up(2), world).seconds
    gc.disable()  # a collection would fall on whichever repeat it pleases
    try:
        pairs = {batch: _Pair(clock, visitors, batch, partial(adapted, learner), partial(adapted, reference)) for batch in BATCHES}
        rank = _Pair(clock, visitors, 1, partial(ranked, learner), partial(ranked, reference))
        every = [*pairs.values(), rank]
        for pair in every:
            pair.warm_up()
        held = held_bytes(learner)
        clock.forget()
        for pair in every:
            pair.take_turns(repeats)
        check_held(held, held_bytes(learner))
        quiet.check_cores(clock.cores())
        for act in (partial(adapted, learner), partial(ranked, learner)):
            check_repeats(partial(_pairs, clock, act, visitors))
    finally:
        gc.enable()
    clock.wait()
    state = adapted(learner, visitors.draw(1))
    quiet.check_rest(state, copied(state))
    for pair in pairs.values():
        check_states(untouched, pair.kept)
    check_ranks(untouched, rank.kept)
    figures = {batch: pair.figure() for batch, pair in pairs.items()}
    joules = _joules(clock, partial(adapted, learner), visitors, pairs[BATCHES[-1]].at_once)
    return Speed(shots, figures, rank.figure(), _bytes(adapted(learner, visitors.draw(32))) / 32, first, clock.cores(), joules)


def _answers(learner: Learner, support: Support, world: World) -> None:
    """The first answer of all keeps the contract; what is timed later is not checked again in its shape."""
    with torch.no_grad():
        state = checked_state(adapted(learner, support), len(support))
        checked(learner.score(state), (len(support), world.n_partners), world.device)


class _Pair:
    """One kind of call, of the method and of the reference, in turns on the same supports."""

    def __init__(self, clock: Clock, visitors: Visitors, batch: int, ours: Act, theirs: Act) -> None:
        self._clock, self._visitors, self._acts = clock, visitors, (ours, theirs)
        self.at_once = batch
        self._warm: list[float] = []
        self._took: tuple[list[Took], list[Took]] = ([], [])
        self.kept: list[tuple[Support, Any]] = []  # a few that were timed, with what came out

    def warm_up(self) -> None:
        """WARM_UP calls on made-up tasks, fewer where they are long; halves the batch where the device's memory is too small."""
        while not fits(self._warmed):
            if self.at_once == 1:
                raise torch.OutOfMemoryError("out of device memory with one entity; there is no smaller batch")
            self.at_once = halved(self.at_once)

    def _warmed(self) -> None:
        self._warm = []
        while len(self._warm) < WARM_UP and (len(self._warm) < LEAST_WARM_UP or sum(self._warm) < WARM_UP_SECONDS):
            support = self._visitors.made_up(self.at_once)
            self._warm.append(self._clock.time(self._acts[0], support).seconds)
            self._clock.time(self._acts[1], support)

    def take_turns(self, repeats: int) -> None:
        """`repeats` calls of each; who begins changes from turn to turn."""
        found: list[Any] = []
        for number in range(repeats):
            support = self._visitors.draw(self.at_once)
            for which in (0, 1) if number % 2 else (1, 0):
                self._took[which].append(self._clock.time(_into, found, self._acts[which], support))
                if which == 0 and number in (repeats // 3, repeats - 1):
                    self.kept.append((support, found[0]))

    def figure(self) -> Figure:
        usual = float(np.quantile([one.seconds for one in self._took[0]], 0.95))  # not the median: a restless machine is no hidden work
        extra = max(0.0, sum(self._warm) - len(self._warm) * usual)
        return Figure(tuple(self._took[0]), tuple(self._took[1]), extra, self.at_once)


def _into(found: list[Any], act: Act, support: Support) -> None:
    found[:] = [act(support)]


def _pairs(clock: Clock, act: Act, visitors: Visitors) -> list[tuple[float, float]]:
    """Seconds of a new task, and of the same a moment later."""
    found = []
    for _ in range(AGAIN):
        support = visitors.draw(1)
        fresh, again = (clock.time(act, support).seconds for _ in range(2))
        found.append((fresh, again))
    return found


def _bytes(state: State) -> int:
    return sum(value.numel() * value.element_size() for value in state.values())


def _joules(clock: Clock, act: Act, visitors: Visitors, at_once: int) -> float | None:
    """Joules an entity, over a block of calls that is long enough for the meter; None without one."""
    before, n, spent = clock.joules(), 0, 0.0
    if before is None:
        return None
    supports = [visitors.draw(at_once) for _ in range(20)]
    clock.wait()
    before = clock.joules()
    while spent < METER_SECONDS:
        for support in supports:
            spent += clock.time(act, support).seconds
            n += at_once
    after = clock.joules()
    return None if before is None or after is None else (after - before) / n
