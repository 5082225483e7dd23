"""Constant: one number for every entity and every partner.

    s(e, p) = value,   the training mean where none is set

The chance row of a rating table. Where partners are to be ranked, all are tied, and a table that
counts ties by their expectation must give exactly chance. The support is not read; zero shots are
like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmark.contract import Learner, Method, State, Support, World


@dataclass(frozen=True)
class Constant(Method):
    value: float | None = None  # None: the training mean

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        mean = world.ratings.rating.double().mean().float()
        return _Learner((mean if self.value is None else mean.new_tensor(self.value)).expand(world.n_partners))


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    value: Tensor  # [n_partners], one number

    def adapt(self, support: Support) -> State:
        return {"nothing": support.rating[:, :0]}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if partner is None:
            return self.value.repeat(len(state["nothing"]), 1)
        return self.value[partner]

    def parameters(self) -> int:
        return 1
