"""Content-kNN: partners are scored by their likeness, in what is known of them, to the ones rated.

x_p is a partner's row of features, each flag weighed by its rarity among the warm partners, to length 1:

    w_pj = max(0, x_p . x_j)^sharpness,    weight of flag f = log((1 + n) / (1 + n_f))

`ranking`: the rows of the support that are like p raise its popularity pi_p, by a(r) (1 for the highest
rating, 1 - dislike for the lowest) more than a partner met by chance would,

    s(p) = log pi_p + log(1 + strength * sum_j (w_pj - mean_j) a(r_j) / (damping + k)),   mean_j = sum_p pi_p w_pj

where below 0 the logarithm's tangent stands for it, and

`rating`:

    r_hat(e, p) = mu + b_e + b_p + sum_j w_pj (r_j - mu - b_e - b_j) / (damping + sum_j w_pj)

As item-kNN (Sarwar et al. 2001), with likeness from content as in Michael Pazzani and Daniel Billsus
(2007), Content-Based Recommendation Systems. At zero shots it is popularity, or the bias model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import in_length_order
from baselines.nn.features import design_matrix
from baselines.nn.meta_training import log_popularity
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class ContentKNN(Method):
    sharpness: float = searched(1.0, 0.5, 8.0, log=True)  # of likeness: how much nearer counts more
    strength: float = searched(4.0, 0.3, 30.0, log=True)  # `ranking`
    damping: float = searched(5.0, 0.5, 50.0, log=True)  # pulls a short support or thin neighbourhood to what is known of all
    dislike: float = searched(1.2, 0.0, 1.5)  # `ranking`: what the lowest rating takes away; above 1 it speaks against its like

    def unsupported(self, world: World) -> str | None:
        return None if world.partner_features.width else "it reads content alone, and nothing is known of the partners"

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        popular = log_popularity(world)
        return _Learner(self, world, DampedBias.fit(world), weighed(world), popular, popular.softmax(0))


def weighed(world: World) -> Tensor:
    """x of every partner, of length 1, or 0 where nothing is known: [n_partners, F]."""
    x = design_matrix(world.partner_features)
    warm = x[world.partner_is_warm]
    rarity = ((1 + len(warm)) / (1 + (warm != 0).sum(0))).log()
    numbers = torch.arange(x.shape[1], device=x.device) >= x.shape[1] - world.partner_features.dense.shape[1]
    return functional.normalize(x * torch.where(numbers, 1.0, rarity), dim=1)  # a number is of order one as it is


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: ContentKNN
    world: World
    bias: DampedBias
    x: Tensor  # [n_partners, F]
    popular: Tensor  # [n_partners], log pi
    share: Tensor  # [n_partners], pi

    def adapt(self, support: Support) -> State:
        """Each entity keeps her rows as (partner, weight): 12 bytes a row."""
        entity = self.bias.entity(support)
        ranks = self.world.goal == "ranking"
        weight = taste(support.rating, self.world, self.method.dislike) if ranks else self.bias.residual(support) - entity
        return {"partner": support.partner, "weight": weight * support.mask, "shown": support.mask, "entity": entity}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        ranks = self.world.goal == "ranking"
        asked = None if ranks else partner  # how much of the whole catalogue a support is like is part of a ranking's answer
        near = self.x.new_empty(len(state["partner"]), len(self.x) if asked is None else asked.shape[1])
        for run, k in in_length_order(state["shown"], near.shape[1]):
            rows = {name: state[name][run, :k] for name in ("partner", "weight", "shown")}
            near[run] = self._near(rows, self.x if asked is None else self.x[asked[run]])
        if not ranks:
            return near + self.bias.predict(state["entity"], asked)
        scores = near + self.popular
        return scores if partner is None else scores.gather(1, partner)

    def _near(self, rows: State, x: Tensor) -> Tensor:
        """What the support says of partners x [(t,) C, F]: [t, C]."""
        w = (self.x[rows["partner"]] @ x.mT).clamp(min=0)  # [t, K, C]
        w = w if self.method.sharpness == 1 else w.pow(self.method.sharpness)
        total = (rows["weight"][:, None] @ w).squeeze(1)
        shown = rows["shown"].float()
        if self.world.goal == "rating":
            return total / (self.method.damping + (shown[:, None] @ w).squeeze(1))
        surplus = total - (total @ self.share)[:, None]
        ratio = self.method.strength * surplus / (self.method.damping + shown.sum(1, keepdim=True))
        return torch.where(ratio > 0, ratio.clamp(min=0).log1p(), ratio)

    def parameters(self) -> int:
        return self.x.numel() + self.popular.numel()
