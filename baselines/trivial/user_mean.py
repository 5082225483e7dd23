"""User mean: an entity's damped mean rating, the same for every partner.

    r_hat(e, p) = mu + sum over support (r - mu) / (damping + k)

Named for user cold-start, where entities are users. Damping as in Koren (2010), Factor in the
Neighbors. Nothing is known of the partner, so it orders nothing; at zero shots it is mu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class UserMean(Method):
    damping: float = searched(3.0, 0.5, 50.0, log=True)

    def unsupported(self, world: World) -> str | None:
        return "it orders no partners" if world.goal == "ranking" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        return _Learner(world.ratings.rating.double().mean().float(), world.n_partners, self.damping)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    mean: Tensor  # []
    n_partners: int
    damping: float

    def adapt(self, support: Support) -> State:
        left = ((support.rating - self.mean) * support.mask).sum(1)
        return {"mean": self.mean + left / (self.damping + support.count())}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        columns = self.n_partners if partner is None else partner.shape[1]
        return state["mean"][:, None].repeat(1, columns)

    def parameters(self) -> int:
        return 1
