"""Popularity: everyone is shown what the most warm entities liked.

    s(p) = |{e warm : r(e, p) >= relevant_from}|

Paolo Cremonesi, Yehuda Koren and Roberto Turrin (2010), Performance of Recommender Algorithms on
Top-N Recommendation Tasks, where it beats many trained models. The support is not read; ties are
left to the harness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class Popularity(Method):
    liked_only: bool = searched(True, choices=(True, False))  # False counts every rating

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        rows = world.ratings
        counted = rows.partner[rows.rating >= world.relevant_from] if self.liked_only else rows.partner
        return _Learner(torch.bincount(counted, minlength=world.n_partners).float())


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    count: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        return {"nothing": support.rating[:, :0]}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if partner is None:
            return self.count.expand(len(state["nothing"]), -1)
        return self.count[partner]

    def parameters(self) -> int:
        return self.count.numel()
