"""ALS: matrix factorisation by alternating least squares; a new entity is folded in by one ridge solve.

`rating`: factors of the residual y = r - mu - b_e - b_p over the rows observed,

    u_e = (V_e' V_e + damping I)^-1 V_e' y_e,    r_hat = mu + b_e + b_p + u_e . v_p

`ranking`: every pair counts, the unobserved ones as 0 with weight w (Hu et al.), the observed ones as
a(r), which grows from 1 - dislike for the lowest rating to 1; popularity decides where factors do not,

    u_e = (w V' V + (1 - w) V_e' V_e + damping I)^-1 V_e' a(r),    s(p) = u_e . v_p + prior * share that liked p

The fold-in is the fit's own half-step for an entity. At zero shots u = 0: the bias model, or popularity.

Yehuda Koren, Robert Bell and Chris Volinsky (2009), Matrix Factorization Techniques for Recommender
Systems; Yifan Hu, Yehuda Koren and Chris Volinsky (2008), Collaborative Filtering for Implicit
Feedback Datasets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.alternating import Side, fold_in
from baselines.nn.bias import DampedBias
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class ALS(Method):
    factors: int = searched(32, 8, 128, log=True)
    rounds: int = 8
    damping: float = searched(6.0, 0.5, 50.0, log=True)
    ranking_damping: float = searched(10.0, 0.5, 100.0, log=True)
    unobserved: float = searched(0.1, 0.01, 1.0, log=True)  # `ranking`: weight w of a pair without a row
    dislike: float = searched(1.1, 0.0, 2.0)  # `ranking`: what the lowest rating takes away; above 1 it speaks against its like
    prior: float = searched(0.1, 0.01, 3.0, log=True)  # `ranking`: weight of popularity

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        bias, rows, ranks = DampedBias.fit(world), world.ratings, world.goal == "ranking"
        generator = torch.Generator().manual_seed(seed)
        v = (torch.randn(world.n_partners, self.factors, generator=generator) * 0.1).to(world.device)
        target = taste(rows.rating, world, self.dislike) if ranks else bias.warm_residual(world)
        by_entity = Side(rows.entity, rows.partner, target, world.n_entities)
        by_partner = Side(rows.partner, rows.entity, target, world.n_partners)
        damping = self.ranking_damping if ranks else self.damping
        unobserved = self.unobserved if ranks else 0.0
        for _ in range(self.rounds):
            v = by_partner.solve(by_entity.solve(v, damping, unobserved), damping, unobserved)
        liked = rows.partner[rows.rating >= world.relevant_from]
        share = torch.bincount(liked, minlength=world.n_partners).float() / rows.entity.unique().numel()
        return _Learner(self, world, v, v.T @ v, damping, unobserved, bias, self.prior * share)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: ALS
    world: World
    factors: Tensor  # [n_partners, d]
    gram: Tensor  # [d, d]
    damping: float
    unobserved: float
    bias: DampedBias
    prior: Tensor  # [n_partners], what stands where the factors say nothing: `ranking` only

    def adapt(self, support: Support) -> State:
        seen = self.factors[support.partner] * support.mask[:, :, None]
        entity = self.bias.entity(support)
        if self.world.goal == "ranking":
            target = taste(support.rating, self.world, self.method.dislike) * support.mask
        else:
            target = (self.bias.residual(support) - entity) * support.mask
        return {"u": fold_in(seen, target, self.gram, self.damping, self.unobserved), "entity": entity}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        base = self.prior if self.world.goal == "ranking" else self.bias.predict(state["entity"])
        scores = state["u"] @ self.factors.T + base
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return self.factors.numel() + self.bias.partner.numel()
