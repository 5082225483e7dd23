"""BPR-MF: factors that put what an entity liked above what she has not met, one sampled pair at a time.

    L = - sum over e, liked i, unmet j of log sigma(s_ei - s_ej) + damping (|u|^2 + |v|^2 + b^2),   s_ep = u_e . v_p + b_p

The fit is stochastic gradient descent on one thread of `implicit`. A new entity, and a warm one too, gets her u with
v and b held still, by `fold_steps` steps down the same loss, averaged over every partner j of a fixed draw and summed
over her rows i, each counted |a(r)| times and turned round where a(r) < 0 (a(r) grows from 1 - dislike for the lowest
rating to 1):

    u <- u - H^-1 grad,   H = 1/4 sum over i of |a_i| mean over j of (v_i - v_j)(v_i - v_j)' + fold_damping I

H bounds the curvature from above, so that no step goes too far (Dankmar Boehning and Bruce Lindsay 1988, Monotonicity
of Quadratic-Approximation Algorithms). The paper folds nobody in, and learns from liked rows alone. At zero shots u =
0: b_p, and a `prior` times the share that liked p, which the paper lacks.

Steffen Rendle, Christoph Freudenthaler, Zeno Gantner and Lars Schmidt-Thieme (2009), BPR: Bayesian Personalized
Ranking from Implicit Feedback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix
from torch import Tensor

from baselines.nn.chunks import chunks
from baselines.nn.feedback import liked_share
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched

AGAINST = 256  # partners j of the fold-in, drawn once for all entities


@dataclass(frozen=True)
class BPR(Method):
    factors: int = searched(64, 16, 128, log=True)
    epochs: int = 60
    learning_rate: float = searched(0.05, 0.005, 0.2, log=True)
    damping: float = searched(0.03, 0.0005, 0.1, log=True)
    fold_damping: float = searched(0.3, 0.005, 2.0, log=True)
    fold_steps: int = 12
    dislike: float = searched(1.1, 0.0, 2.0)  # what the lowest rating takes away; above 1 it speaks against its like
    prior: float = searched(3.0, 0.1, 20.0, log=True)  # weight of popularity

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        rows = world.ratings
        liked = (rows.rating >= world.relevant_from).cpu()
        entity, partner = rows.entity.cpu()[liked].numpy(), rows.partner.cpu()[liked].numpy()
        shape = (world.n_entities, world.n_partners)
        model = BayesianPersonalizedRanking(
            factors=self.factors, iterations=self.epochs, learning_rate=self.learning_rate, regularization=self.damping,
            num_threads=1, random_state=seed % 2**31,
        )  # fmt: skip
        model.fit(csr_matrix((np.ones(len(entity), dtype=np.float32), (entity, partner)), shape=shape), show_progress=False)
        found = torch.from_numpy(model.item_factors).to(world.device)
        v, b = found[:, :-1].contiguous(), found[:, -1] + self.prior * liked_share(world)  # their last column is the bias
        drawn = torch.randint(world.n_partners, (AGAINST,), generator=torch.Generator().manual_seed(seed)).to(world.device)
        return _Learner(self, world, v, b, drawn)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: BPR
    world: World
    v: Tensor  # [n_partners, d]
    b: Tensor  # [n_partners]
    against: Tensor  # [m]

    def adapt(self, support: Support) -> State:
        runs = chunks(len(support), support.partner.shape[1] * AGAINST, support.entity.device)
        return {"u": torch.cat([self._fold_in(support[run]) for run in runs])}

    def _fold_in(self, support: Support) -> Tensor:
        """u of each entity: [T, d]."""
        a = taste(support.rating, self.world, self.method.dislike) * support.mask
        size, seen, other = a.abs(), self.v[support.partner], self.v[self.against]
        n, mean = size.sum(1), other.mean(0)
        # sum over i of |a_i|, mean over j, of (v_i - v_j)(v_i - v_j)', from its four products
        cross = (size[:, None] @ seen).mT * mean
        spread = (seen * size[:, :, None]).mT @ seen - cross - cross.mT + n[:, None, None] * (other.T @ other / len(other))
        eye = torch.eye(len(mean), device=mean.device)
        lower = torch.linalg.cholesky_ex(spread / 4 + self.method.fold_damping * eye).L
        ahead, sign = self.b[support.partner][:, :, None] - self.b[self.against], a.sign()[:, :, None]
        u = torch.zeros_like(cross[:, 0])
        for _ in range(self.method.fold_steps):
            gap = ahead + (seen @ u[:, :, None]) - (u @ other.T)[:, None]
            pull = torch.sigmoid(-sign * gap) * a[:, :, None] / len(other)  # [T, K, m]
            up = (pull.sum(2)[:, None] @ seen).squeeze(1) - pull.sum(1) @ other - self.method.fold_damping * u
            u = u + torch.cholesky_solve(up[:, :, None], lower).squeeze(2)
        return u

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if partner is not None:
            return (self.v[partner] @ state["u"][:, :, None]).squeeze(2) + self.b[partner]
        return torch.addmm(self.b, state["u"], self.v.T)

    def parameters(self) -> int:
        return self.v.numel() + self.b.numel()
