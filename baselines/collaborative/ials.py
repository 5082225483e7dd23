"""iALS: every pair counts, the observed ones more; a new entity is folded in by one exact half-step.

    L = sum over observed (u_e . v_p - a(r))^2 + w * sum over all pairs (u_e . v_p)^2
        + sum_e damping_e |u_e|^2 + sum_p damping_p |v_p|^2,   damping_e = damping (n_e + w n_partners)^frequency

    u_e = (w V'V + V_e' V_e + damping_e I)^-1 V_e' a(r),    s(p) = u_e . v_p + prior * share that liked p

w = min(0.2, unobserved * share of pairs that are observed): all pairs together weigh `unobserved` times what the observed ones
do, where these are few. A fixed w that suits MovieLens would outweigh the few events of a large catalogue, and shrink every factor to 0.

The papers have 1 for a(r); here it grows from 1 - dislike for the lowest rating to 1, unless reading says otherwise. A fit
alternates half-steps, each a few conjugate gradients from where the last round ended; the fold-in is the half-step
solved to the end, for a warm entity as for a cold one. At zero shots u = 0: popularity, which the papers lack.

Yifan Hu, Yehuda Koren and Chris Volinsky (2008), Collaborative Filtering for Implicit Feedback Datasets; the
regularisation scaled by frequency: Steffen Rendle, Walid Krichene, Li Zhang and Yehuda Koren (2022), Revisiting the
Performance of iALS on Item Recommendation Benchmarks; conjugate gradients: Gabor Takacs, Istvan Pilaszy and Domonkos Tikk
(2011), Applications of the Conjugate Gradient Method for Implicit Feedback Collaborative Filtering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.feedback import READINGS, feedback, liked_share
from baselines.nn.ridge import ridge
from baselines.nn.sparse_rows import SparseRows
from benchmark.contract import Learner, Method, State, Support, World, searched

MOST = 0.2  # that a pair without a row weighs, however dense the rows are


@dataclass(frozen=True)
class IALS(Method):
    factors: int = searched(64, 16, 256, log=True)
    rounds: int = 15
    conjugate: int = 5  # conjugate gradients a half-step
    unobserved: float = searched(3.0, 0.1, 30.0, log=True)
    damping: float = searched(0.015, 0.0005, 0.2, log=True)
    frequency: float = 1.0  # the papers' nu: 0 damps all alike, 1 in proportion to the rows
    prior: float = searched(0.1, 0.01, 2.0, log=True)  # weight of popularity
    reading: str = searched("taste", choices=READINGS)  # what a row counts for
    dislike: float = searched(1.1, 0.0, 2.0)  # of `taste`: what the lowest rating takes away

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        value = feedback(world.ratings.rating, world, self.reading, self.dislike)
        seen = value != 0  # nothing is observed of a pair that counts 0
        entity, partner, value = world.ratings.entity[seen], world.ratings.partner[seen], value[seen]
        w = min(MOST, self.unobserved * len(value) / max(1, world.ratings.entity.unique().numel() * world.n_partners))
        by_entity = _Side(entity, partner, value, world.n_entities, world.n_partners)
        by_partner = _Side(partner, entity, value, world.n_partners, world.n_entities)
        generator = torch.Generator().manual_seed(seed)
        u = torch.zeros(world.n_entities, self.factors, device=world.device)
        v = (torch.randn(world.n_partners, self.factors, generator=generator) / self.factors**0.5 * 0.1).to(world.device)
        for _ in range(self.rounds):
            u = by_entity.half_step(self, w, u, v)
            v = by_partner.half_step(self, w, v, u)
        lengths, axes = torch.linalg.eigh((v.T @ v).double())
        return _Learner(self, world, w, v @ axes.float(), lengths.clamp(min=0).float(), self.prior * liked_share(world))

    def damped(self, rows: Tensor, w: float, n_others: int) -> Tensor:
        """The damping of each id [n] with so many rows, where there are `n_others` on the other side."""
        damping: Tensor = self.damping * (rows + w * n_others).pow(self.frequency)
        return damping


class _Side:
    """The observed pairs grouped by one side."""

    def __init__(self, group: Tensor, other: Tensor, value: Tensor, n: int, n_others: int) -> None:
        self._rows = SparseRows.of(group, other, n)
        self._value, self._n_others = value[self._rows.order], n_others

    def half_step(self, method: IALS, w: float, u: Tensor, v: Tensor) -> Tensor:
        """u after a few conjugate gradients towards the minimum, given v."""
        gram, damping = v.T @ v, method.damped(self._rows.count().float(), w, self._n_others)[:, None]

        def normal(p: Tensor) -> Tensor:
            return w * (p @ gram) + self._rows.times(v, self._rows.dots(p, v)) + damping * p

        left = self._rows.times(v, self._value) - normal(u)
        towards, size = left, left.square().sum(1, keepdim=True)
        for _ in range(method.conjugate):
            moved = normal(towards)
            step = size / (towards * moved).sum(1, keepdim=True).clamp(min=1e-30)
            u, left = u + step * towards, left - step * moved
            size, before = left.square().sum(1, keepdim=True), size
            towards = left + size / before.clamp(min=1e-30) * towards
        return u


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: IALS
    world: World
    w: float  # weight of a pair that is not observed
    v: Tensor  # [n_partners, d], in the axes of V'V
    lengths: Tensor  # [d], its eigenvalues
    prior: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        method = self.method
        target = feedback(support.rating, self.world, method.reading, method.dislike) * support.mask
        seen = self.v[support.partner] * (target != 0)[:, :, None]
        damping = method.damped((target != 0).sum(1).float(), self.w, self.world.n_partners)
        # Along the axes of V'V the unobserved pairs and the damping are one number an axis: what is left is a ridge on her rows.
        stiff = (self.w * self.lengths + damping[:, None]).sqrt()
        return {"u": ridge(seen / stiff[:, None], target, torch.zeros_like(self.lengths), 1.0) / stiff}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if partner is not None:
            return (self.v[partner] @ state["u"][:, :, None]).squeeze(2) + self.prior[partner]
        return torch.addmm(self.prior, state["u"], self.v.T)

    def parameters(self) -> int:
        return self.v.numel() + self.prior.numel()
