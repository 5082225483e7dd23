"""Item mean: every partner's damped mean rating, the same for everyone.

    s(p) = mu + sum(r(e, p) - mu) / (damping + n_p)

Named for user cold-start, where partners are items. Damping as in Koren (2010), Factor in the
Neighbors. The support is not read; a partner never rated gets mu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class ItemMean(Method):
    damping: float = searched(10.0, 0.0, 100.0)

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        rows = world.ratings
        mu = rows.rating.double().mean()
        total = torch.zeros(world.n_partners, dtype=torch.float64, device=world.device)
        total.index_add_(0, rows.partner, rows.rating.double() - mu)
        n = torch.bincount(rows.partner, minlength=world.n_partners)
        return _Learner((mu + total / (self.damping + n).clamp(min=1e-9)).float())


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    mean: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        return {"nothing": support.rating[:, :0]}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if partner is None:
            return self.mean.expand(len(state["nothing"]), -1)
        return self.mean[partner]

    def parameters(self) -> int:
        return self.mean.numel()
