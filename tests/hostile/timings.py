"""Methods that look faster than they are, one way each; the speed measurement must not be fooled."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field

import torch

from benchmark.contract import Learner, Method

BUSY_SECONDS = 0.001
KEPT: dict[bytes, torch.Tensor] = {}


def work(seconds: float = BUSY_SECONDS) -> None:
    """Keeps the processor busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def content(support) -> bytes:
    return support.partner.numpy().tobytes() + support.rating.numpy().tobytes()


class Honest(Learner):
    """Works on each batch that it meets."""

    def __init__(self, world) -> None:
        self.n_partners = world.n_partners

    def adapt(self, support):
        work()
        return {"mean": support.rating.sum(1, keepdim=True) / support.count()[:, None].clamp(min=1)}

    def score(self, state, partner=None):
        columns = self.n_partners if partner is None else partner.shape[1]
        return state["mean"].expand(-1, columns) * torch.linspace(0, 1, columns)


class TrainsWhenFirstAsked(Honest):
    """Its fit is free; its first answers are not."""

    left, seconds = 10, 0.1

    def adapt(self, support):
        if self.left:
            self.left -= 1
            work(self.seconds)
        return super().adapt(support)


class Remembers(Honest):
    """Keeps each answer, in itself."""

    def __init__(self, world) -> None:
        super().__init__(world)
        self.kept: dict[bytes, dict[str, torch.Tensor]] = {}

    def adapt(self, support):
        name = content(support)
        if name not in self.kept:
            self.kept[name] = super().adapt(support)
        return self.kept[name]


class RemembersElsewhere(Honest):
    """Keeps each answer where nobody looks."""

    def adapt(self, support):
        name = content(support)
        if name not in KEPT:
            KEPT[name] = super().adapt(support)["mean"]
        return {"mean": KEPT[name]}


class RemembersEntities(Honest):
    """Keeps an answer an entity, whatever she shows; the room for it was made before."""

    def __init__(self, world) -> None:
        super().__init__(world)
        self.kept, self.has = torch.zeros(world.n_entities, 1), torch.zeros(world.n_entities, dtype=torch.bool)

    def adapt(self, support):
        if not bool(self.has[support.entity].all()):
            self.kept[support.entity] = super().adapt(support)["mean"]
            self.has[support.entity] = True
        return {"mean": self.kept[support.entity]}


class KnowsTheBatches(Honest):
    """Answers anything to a batch of a size that is timed."""

    def adapt(self, support):
        return {"mean": torch.ones(len(support), 1)} if len(support) in (1, 8, 32, 1024) else super().adapt(support)


class Forks(Honest):
    """Lets another process do the work, later."""

    def __init__(self, world) -> None:
        super().__init__(world)
        self.process = 0

    def adapt(self, support):
        if not self.process:
            self.process = os.fork()
            if not self.process:
                time.sleep(5)
                os._exit(0)
        return super().adapt(support)


class FillsLater(Honest):
    """Returns at once, and fills its state when the clock has stopped."""

    def adapt(self, support):
        mean = torch.zeros(len(support), 1)
        threading.Timer(0.005, lambda: mean.fill_(1.0)).start()
        return {"mean": mean}


class LeavesWork(Honest):
    """Goes on working after it has answered."""

    def adapt(self, support):
        threading.Thread(target=lambda: (work(), time.sleep(2.0)), daemon=True).start()
        return {"mean": support.rating[:, :1].clone()}


class Runs(Honest):
    """Asks a device for what it does, and does not wait for it."""

    def __init__(self, world, queue: list) -> None:
        super().__init__(world)
        self.queue = queue

    def adapt(self, support):
        self.queue.append(BUSY_SECONDS)
        return {"mean": support.rating[:, :1].clone()}


class Spreads(Honest):
    """Takes as many threads as there are."""

    def adapt(self, support):
        torch.set_num_threads(2)
        torch.rand(400, 400) @ torch.rand(400, 400)
        return {"mean": support.rating[:, :1].clone()}


class TooLarge(Honest):
    """Out of memory above 100 entities at once."""

    def adapt(self, support):
        if len(support) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"mean": support.rating[:, :1].clone()}


@dataclass(frozen=True)
class TrainsOn(Method):
    """Its fit returns at once, and goes on."""

    def fit(self, world, seed, validate):
        threading.Thread(target=work, args=(1.0,), daemon=True, name="training").start()
        return Honest(world)


@dataclass(frozen=True)
class Trains(Method):
    """As a method, to be run from the command line."""

    kind: str = field(default="TrainsWhenFirstAsked")

    def fit(self, world, seed, validate):
        return globals()[self.kind](world)
