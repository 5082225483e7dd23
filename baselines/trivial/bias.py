"""Bias: a mean, a partner's offset and the entity's own, all damped.

    r_hat(e, p) = mu + b_e + b_p,   b_e = sum over support (r - mu - b_p) / (5 + k)

Yehuda Koren (2010), Factor in the Neighbors: Scalable and Accurate Collaborative Filtering. One
number is learned of a new entity; at zero shots it is 0. At `rating` this is hard to beat; at
`ranking` b_e moves all partners alike, so the order is that of b_p.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from baselines.nn.bias import DampedBias
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class Bias(Method):
    partner_damping: float = searched(10.0, 1.0, 100.0, log=True)
    entity_damping: float = searched(5.0, 0.5, 50.0, log=True)

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        return _Learner(DampedBias.fit(world, self.partner_damping, self.entity_damping))


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    bias: DampedBias

    def adapt(self, support: Support) -> State:
        return {"entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        return self.bias.predict(state["entity"], partner)

    def parameters(self) -> int:
        return self.bias.partner.numel() + 1
