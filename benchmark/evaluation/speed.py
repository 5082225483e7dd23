"""Speed: what it takes to meet a new entity, and what must be stored to serve her.

Each figure is the time of a call on an idle device until the device is idle again, after a warm-up on
made-up tasks. No support is asked twice, so that nothing is gained by keeping answers; what a method
does in its warm-up beyond answering is charged to its fit. A reference method takes turns with the
one that is measured, task by task: a busy machine slows both, and their ratio holds.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmark.contract import Learner, State, Support, World
from benchmark.evaluation.answers import checked, checked_state
from benchmark.evaluation.clock import Clock, Took
from benchmark.evaluation.honesty import Quiet, check_held, check_repeats, copied, held_bytes
from benchmark.protocol.boards import ALL
from benchmark.protocol.tasks import Tasks

REPEATS, WARM_UP, AGAIN = 200, 20, 50
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
    both_joules: float | None  # of all repeats, the reference's among them

    @property
    def joules(self) -> float | None:
        """An entity, of what both took the part of the time that was ours."""
        if self.both_joules is None:
            return None
        ours, theirs = (sum(one.seconds for one in side) for side in (self.took, self.reference))
        return self.both_joules * ours / (ours + theirs) / (len(self.took) * self.at_once)

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

    @property
    def joules(self) -> float | None:
        """An entity, adapted in the largest batch."""
        return self.adapt[max(self.adapt)].joules

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


class Visitors:
    """Entities of the test, each time with other rows of their pools: no two supports are alike."""

    def __init__(self, tasks: Tasks, world: World, shots: int, seed: int = 0) -> None:
        self._tasks, self._world, self._shots = tasks, world, shots
        self._luck = torch.Generator(world.device).manual_seed(seed)
        self._warm = torch.nonzero(world.partner_is_warm).flatten()
        self._queue = torch.empty(0, dtype=torch.int64, device=world.device)

    def draw(self, n: int) -> Support:
        """`n` entities, each with `shots` rows in an order of their own."""
        return self._drawn(n).support(self._shots)

    def made_up(self, n: int) -> Support:
        """The same, each row with a partner and a rating drawn at random: for warming up."""
        real = self._drawn(n)
        low, high = self._world.rating_range
        luck = torch.rand(real.pool_rating.shape, generator=self._luck, device=self._world.device)
        any_one = torch.randint(len(self._warm), real.pool_partner.shape, generator=self._luck, device=self._world.device)
        return replace(
            real, pool_partner=self._warm[any_one] * real.pool_mask, pool_rating=(low + (high - low) * luck).round() * real.pool_mask
        ).support(self._shots)

    def _drawn(self, n: int) -> Tasks:
        tasks = self._tasks
        while len(self._queue) < n:
            again = torch.randperm(len(tasks), generator=self._luck, device=self._world.device)
            self._queue = torch.cat([self._queue, again])
        one, self._queue = self._queue[:n], self._queue[n:]
        mask = tasks.pool_mask[one]
        luck = torch.rand(mask.shape, generator=self._luck, device=mask.device).masked_fill(~mask, 2.0)
        order = luck.topk(min(self._shots, mask.shape[1]), largest=False).indices
        return replace(
            tasks,
            entity=tasks.entity[one],
            **{name: getattr(tasks, name)[one].gather(1, order) for name in ("pool_partner", "pool_rating", "pool_time", "pool_mask")},
            **{name: getattr(tasks, name)[one] for name in ("given_partner", "given_rating", "given_mask")},
            query_offset=tasks.query_offset.new_zeros(n + 1),
            query_partner=tasks.query_partner[:0],
            query_rating=tasks.query_rating[:0],
        )


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

    Raises MethodError where a timing would not be honest: the learner remembers, or leaves work behind.
    """
    visitors, quiet = Visitors(tasks, world, shots), Quiet()
    first = clock.time(_answers, learner, visitors, world).seconds
    gc.disable()  # a collection would fall on whichever repeat it pleases
    try:
        by_batch = {1: _beside(clock, _adapting(learner), _adapting(reference), visitors, 1, repeats)}
        held = held_bytes(learner)
        rank = _beside(clock, lambda one: ranked(learner, one), lambda one: ranked(reference, one), visitors, 1, repeats)
        for batch in BATCHES[1:]:
            by_batch[batch] = _beside(clock, _adapting(learner), _adapting(reference), visitors, batch, repeats)
        check_held(held, held_bytes(learner))
        _check_repeats(learner, visitors, clock)
    finally:
        gc.enable()
    clock.wait()
    state = adapted(learner, visitors.draw(1))
    quiet.check(state, copied(state))
    return Speed(shots, by_batch, rank, _bytes(adapted(learner, visitors.draw(32))) / 32, first, clock.cores())


def _adapting(learner: Learner) -> Act:
    return lambda support: adapted(learner, support)


def _answers(learner: Learner, visitors: Visitors, world: World) -> None:
    """The first answer of all keeps the contract; what is timed later is not checked again."""
    with torch.no_grad():
        state = checked_state(adapted(learner, visitors.made_up(2)), 2)
        checked(learner.score(state), (2, world.n_partners), world.device)


def _beside(clock: Clock, ours: Act, theirs: Act, visitors: Visitors, batch: int, repeats: int) -> Figure:
    """`repeats` calls of each, taking turns on the same supports; halves the batch where the device's memory is too small."""
    at_once = batch
    while True:
        try:
            warm = [clock.time(ours, one).seconds for one in _each(visitors.made_up, WARM_UP, at_once)]
            for one in _each(visitors.made_up, WARM_UP, at_once):
                clock.time(theirs, one)
            break
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once //= 2
            torch.cuda.empty_cache()
    took: tuple[list[Took], list[Took]] = ([], [])
    before = clock.joules()
    for number, support in enumerate(_each(visitors.draw, repeats, at_once)):
        for which in (0, 1) if number % 2 else (1, 0):
            took[which].append(clock.time((ours, theirs)[which], support))
    after = clock.joules()
    spent = None if before is None or after is None else after - before
    usual = float(np.quantile([one.seconds for one in took[0]], 0.95))  # not the median: a restless machine is no hidden work
    return Figure(tuple(took[0]), tuple(took[1]), max(0.0, sum(warm) - WARM_UP * usual), at_once, spent)


def _each(draw: Callable[[int], Support], n: int, size: int) -> Iterator[Support]:
    for _ in range(n):
        yield draw(size)


def _check_repeats(learner: Learner, visitors: Visitors, clock: Clock) -> None:
    asked = list(_each(visitors.draw, AGAIN, 1))
    fresh, again = ([clock.time(ranked, learner, one).seconds for one in asked] for _ in range(2))
    check_repeats(fresh, again)


def _bytes(state: State) -> int:
    return sum(value.numel() * value.element_size() for value in state.values())
