"""Content ridge: an entity's taste is a linear weighing of what partners are, in closed form.

x_p are a partner's features less their mean over the warm rows, C their covariance there. Around u_0,
what is expected of an entity by her own features z_e (and a 1),

`rating`: the residual y = r - mu - b_e - b_p of her k rows is regressed on x,

    u_e = argmin |X u - y|^2 + damping |u - u_0|^2,    r_hat = mu + b_e + b_p + x_p . u_e

`ranking`: a(r) counts against the catalogue. With pi_p the share of warm rows that p has, she would
meet it k pi_p times if she had no taste; the ridge of the ratio on x, where each partner weighs pi_p, is

    u_e = argmin k sum_p pi_p (c_p / (k pi_p) - 1 - x_p . u)^2 + damping |u - u_0|^2
        = u_0 + (k C + damping I)^-1 (sum_j a(r_j) x_j - k C u_0),     s(p) = log pi_p + log(1 + x_p . u_e)

c_p = a(r) where she met p, else 0; pi in s(p) counts liked rows alone; below 0 its tangent stands for the
logarithm. Validation may choose a bolder reading, for worlds that content decides: a twentieth of the
damping, and a lowest rating that speaks against its like. u_0 = M (1, z_e), with M from all
warm rows by the same normal equations (at `rating` as if who rates and what were independent). At zero
shots u_e = u_0.

A per-user linear model of content as in Michael Pazzani and Daniel Billsus (2007), Content-Based
Recommendation Systems; the hierarchical prior as in Deepak Agarwal and Bee-Chung Chen (2009),
Regression-based Latent Factor Models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from baselines.nn.bias import DampedBias
from baselines.nn.features import design_matrix
from baselines.nn.meta_training import log_popularity
from baselines.nn.ridge import ridge
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched

BOLDER = 20.0


@dataclass(frozen=True)
class ContentRidge(Method):
    damping: float = searched(20.0, 1.0, 300.0, log=True)  # `rating`: of an entity's weights
    ranking_damping: float = searched(2.0, 0.1, 30.0, log=True)
    prior_damping: float = searched(100.0, 3.0, 3000.0, log=True)  # of what an entity's features say, in warm rows
    dislike: float = searched(0.9, 0.0, 1.5)  # `ranking`: what the lowest rating takes away

    def unsupported(self, world: World) -> str | None:
        return None if world.partner_features.width else "it reads content alone, and nothing is known of the partners"

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        bold = replace(self, damping=self.damping / BOLDER, ranking_damping=self.ranking_damping / BOLDER, dislike=self.dislike + 1)
        return max((self._read(world), bold._read(world)), key=validate)

    def _read(self, world: World) -> Learner:
        bias, rows, ranks = DampedBias.fit(world), world.ratings, world.goal == "ranking"
        share = torch.bincount(rows.partner, minlength=world.n_partners).float() / len(rows)
        x = design_matrix(world.partner_features)
        x = x - share @ x
        c = x.T @ (share[:, None] * x)
        z = functional.pad(design_matrix(world.entity_features), (1, 0), value=1.0)
        y = taste(rows.rating, world, self.dislike) if ranks else bias.warm_residual(world)
        said = torch.zeros(world.n_partners, z.shape[1], device=world.device).index_add_(0, rows.partner, y[:, None] * z[rows.entity])
        met = torch.bincount(rows.entity, minlength=world.n_entities).float()
        m = _solve(len(rows) * c, self.prior_damping, x.T @ said)
        m = _solve(z.T @ (met[:, None] * z), self.prior_damping, len(rows) * m.T)  # [1 + entity features, F]
        lengths, axes = torch.linalg.eigh(c.double())
        return _Learner(self, world, bias, x, c, lengths.clamp(min=0).float(), axes.float(), z @ m, log_popularity(world))


def _solve(gram: Tensor, damping: float, right: Tensor) -> Tensor:
    return torch.linalg.solve(gram + damping * torch.eye(len(gram), device=gram.device), right)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: ContentRidge
    world: World
    bias: DampedBias
    x: Tensor  # [n_partners, F]
    c: Tensor  # [F, F], its eigenvalues and, as columns, its eigenvectors
    lengths: Tensor  # [F]
    axes: Tensor  # [F, F]
    prior: Tensor  # [n_entities, F], read of features alone
    popular: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        seen = self.x[support.partner] * support.mask[:, :, None]
        prior, entity = self.prior[support.entity], self.bias.entity(support)
        if self.world.goal == "rating":
            y = (self.bias.residual(support) - entity) * support.mask
            return {"u": ridge(seen, y, prior, self.method.damping), "entity": entity}
        a = taste(support.rating, self.world, self.method.dislike) * support.mask
        k = support.count()[:, None]
        left = (seen.mT @ a[:, :, None]).squeeze(2) - k * (prior @ self.c)
        # k C + damping I has the axes of C whatever k is: they were found once, and each entity only divides along them.
        along = (left @ self.axes) / (k * self.lengths + self.method.ranking_damping)
        return {"u": prior + along @ self.axes.T, "entity": entity}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        near = state["u"] @ self.x.T
        if self.world.goal == "ranking":
            scores = self.popular + torch.where(near > 0, near.clamp(min=0).log1p(), near)
        else:
            scores = self.bias.predict(state["entity"]) + near
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return self.prior.numel() + self.c.numel() + self.popular.numel()
