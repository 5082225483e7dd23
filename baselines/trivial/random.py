"""Random: a score drawn for each (entity, partner), or for `rating` a training rating drawn at random.

    s(e, p) = hash(seed, e, p)

The lower fence of every table: it must equal the analytic chance row within noise. The draw depends
on the pair alone, so the batch and the order of tasks change nothing. Zero shots are like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.contract import Learner, Method, State, Support, World

_A, _B = 0x2545F4914F6CDD1D, 0x369DEA0F31A53F85


@dataclass(frozen=True)
class Random(Method):
    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        values = world.ratings.rating.sort().values if world.goal == "rating" else None
        return _Learner(seed, torch.arange(world.n_partners, device=world.device), values)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    seed: int
    every: Tensor  # [n_partners]
    values: Tensor | None  # the training ratings, sorted

    def adapt(self, support: Support) -> State:
        return {"entity": support.entity[:, None]}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        partner = self.every[None] if partner is None else partner
        mixed = _mix(_mix(_mix(torch.full_like(partner, self.seed)) ^ state["entity"]) ^ partner)
        uniform = ((mixed >> 20) & 0xFFFFFF).float() / 2**24
        if self.values is None:
            return uniform
        return self.values[(uniform * len(self.values)).long()]


def _mix(z: Tensor) -> Tensor:
    """A multiply-and-shift hash of int64 words; overflow wraps."""
    z = (z + _A) * _B
    z = (z ^ ((z >> 29) & 0x7FFFFFFFF)) * _A
    return z ^ ((z >> 32) & 0xFFFFFFFF)
