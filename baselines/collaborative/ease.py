"""EASE: a linear autoencoder whose best weights have a closed form.

    B = argmin |X - XB|^2 + damping |B|^2 with diag B = 0
      = I - P diag(1 / diag P),   P = (X'X + damping I)^-1,        s = x B + prior * share that liked p

x is what an entity's rows count for, 0 elsewhere: a(r), which grows from 1 - dislike for the lowest rating to 1 (the
paper has ones for the liked rows: reading="liked"). Where there are fewer warm entities than partners the same
scores come from a matrix of entities (Woodbury), and none of partner by partner is made:

    xP = (x - (xX') KX) / damping,   K = (XX' + damping I)^-1

A warm entity's own rows give back her row of XB. At zero shots x = 0, and popularity is left, which the paper lacks.
It predicts no rating: unrated pairs are zeros to it, so that over a bias model it hardly speaks at few shots.

Harald Steck (2019), Embarrassingly Shallow Autoencoders for Sparse Data.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.feedback import READINGS, feedback, liked_share
from baselines.nn.sparse_rows import SparseRows, support_times
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class EASE(Method):
    damping: float = searched(700.0, 10.0, 5000.0, log=True)
    prior: float = searched(0.07, 0.01, 2.0, log=True)  # weight of popularity
    reading: str = searched("taste", choices=READINGS)  # what a row counts for
    dislike: float = searched(1.1, 0.0, 2.0)  # of `taste`: what the lowest rating takes away

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        rows = world.ratings
        value = feedback(rows.rating, world, self.reading, self.dislike)
        entity = torch.unique(rows.entity, return_inverse=True)[1]
        n_warm = int(entity[-1]) + 1
        x = torch.zeros(n_warm, world.n_partners, device=world.device)
        x[entity, rows.partner] = value
        prior = self.prior * liked_share(world)
        if n_warm < world.n_partners:
            by_entity = SparseRows.of(entity, rows.partner, n_warm)
            inner = by_entity.times(x.T.contiguous(), value[by_entity.order])  # XX'
            kx = _inverse(inner, self.damping) @ x
            return _Dual(self, world, prior, x.T.contiguous(), kx, 1 - (x * kx).sum(0))
        by_partner = SparseRows.of(rows.partner, entity, world.n_partners)
        p = _inverse(by_partner.times(x, value[by_partner.order]), self.damping)
        b = p.div_(-p.diagonal().clone()).fill_diagonal_(0.0)
        return _Primal(self, world, prior, b)


def _inverse(gram: Tensor, damping: float) -> Tensor:
    """(gram + damping I)^-1; overwrites gram."""
    gram.diagonal().add_(damping)
    return torch.cholesky_inverse(torch.linalg.cholesky(gram)).T.contiguous()  # symmetric; rows of it will be gathered


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: EASE
    world: World
    prior: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        """Each entity keeps her rows as (partner, x): 12 bytes a row."""
        x = feedback(support.rating, self.world, self.method.reading, self.method.dislike)
        return {"partner": support.partner, "x": x * support.mask}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        scores = self.times_b(state["partner"], state["x"]) + self.prior
        return scores if partner is None else scores.gather(1, partner)

    @abstractmethod
    def times_b(self, partner: Tensor, x: Tensor) -> Tensor:
        """xB: [T, n_partners]."""


@dataclass(frozen=True, eq=False)
class _Primal(_Learner):
    b: Tensor  # [n_partners, n_partners]

    def times_b(self, partner: Tensor, x: Tensor) -> Tensor:
        return support_times(partner, x, self.b)

    def parameters(self) -> int:
        return self.b.numel()


@dataclass(frozen=True, eq=False)
class _Dual(_Learner):
    x_t: Tensor  # [n_partners, warm entities]
    kx: Tensor  # [warm entities, n_partners]
    diagonal: Tensor  # [n_partners], of damping P

    def times_b(self, partner: Tensor, x: Tensor) -> Tensor:
        whole = torch.zeros(len(x), len(self.x_t), device=x.device).scatter_add_(1, partner, x)
        return whole - (whole - support_times(partner, x, self.x_t) @ self.kx) / self.diagonal

    def parameters(self) -> int:
        return self.x_t.numel() + self.kx.numel()
