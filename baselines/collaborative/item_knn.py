"""Item-kNN on the support: partners are scored by their likeness to the ones rated.

likeness, shrunk where few rated both (n_ij of them), the `neighbours` largest |w_ij| kept for each support partner j:

    w_ij = x_i . x_j / (|x_i| |x_j|) * n_ij / (n_ij + shrink)

`ranking`: x is a(r), which grows from 1 - dislike for the lowest rating to 1 for the highest, and

    s(p) = sum over support w_pj a(r_j) + prior * share of warm entities that liked p

`rating`: x is the residual of the damped bias model, and

    r_hat(e, p) = mu + b_e + b_p + sum w_pj (r_j - mu - b_e - b_j) / (damping + sum |w_pj|)

Badrul Sarwar, George Karypis, Joseph Konstan and John Riedl (2001), Item-Based Collaborative
Filtering Recommendation Algorithms; shrinkage and baselines from Koren (2010). At zero shots it is
popularity, or the bias model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.bias import DampedBias
from baselines.nn.feedback import liked_share
from baselines.nn.sparse_rows import SparseRows, support_times
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched

BLOCK = 1024  # partners whose likenesses are computed at once


@dataclass(frozen=True)
class ItemKNN(Method):
    neighbours: int = searched(500, 20, 2000, log=True)
    shrink: float = searched(100.0, 5.0, 1000.0, log=True)
    prior: float = searched(1.0, 0.05, 10.0, log=True)  # `ranking`: weight of popularity against one neighbour
    dislike: float = searched(1.1, 0.0, 2.0)  # `ranking`: what the lowest rating takes away; above 1 it speaks against its like
    damping: float = searched(1.0, 0.1, 10.0, log=True)  # `rating`: pulls a thin neighbourhood towards the bias model

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        bias, rows = DampedBias.fit(world), world.ratings
        ranks = world.goal == "ranking"
        value = taste(rows.rating, world, self.dislike) if ranks else bias.warm_residual(world)
        likeness = _likeness(world, value, self.neighbours, self.shrink)
        return _Learner(self, world, bias, likeness, likeness if ranks else likeness.abs(), liked_share(world))


def _likeness(world: World, value: Tensor, n: int, shrink: float) -> Tensor:
    """w_jp of each partner j (row) with the n partners p most like it, by the warm rows' values: [n_partners, n_partners], else 0.

    Whole rows, since adding one up costs an eighth of scattering its n cells.
    """
    entity = torch.unique(world.ratings.entity, return_inverse=True)[1]
    raters = SparseRows.of(world.ratings.partner, entity, world.n_partners)
    value, partner = value[raters.order], world.ratings.partner[raters.order]
    norm = value.new_zeros(world.n_partners).index_add_(0, partner, value.square()).sqrt().clamp(min=1e-6)
    n, found = min(n, world.n_partners - 1), value.new_zeros(world.n_partners, world.n_partners)
    for start in range(0, world.n_partners, BLOCK):
        run = slice(start, start + BLOCK)
        cells = slice(int(raters.offset[start]), int(raters.offset[min(start + BLOCK, world.n_partners)]))
        x, rated = (value.new_zeros(int(entity[-1]) + 1, len(norm[run])) for _ in range(2))
        place = raters.column[cells], partner[cells] - start
        x[place], rated[place] = value[cells], 1.0
        both = raters.times(rated).T
        w = raters.times(x, value).T / (norm[run, None] * norm) * both / (both + shrink)
        w[torch.arange(len(w), device=w.device), torch.arange(start, start + len(w), device=w.device)] = 0.0
        nearest = w.abs().topk(n, 1).indices
        found[run].scatter_(1, nearest, w.gather(1, nearest))
    return found


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: ItemKNN
    world: World
    bias: DampedBias
    likeness: Tensor  # [n_partners, n_partners]
    size: Tensor  # |w| of `rating`: [n_partners, n_partners]
    liked: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        """Each entity keeps her rows as (partner, weight): 12 bytes a row."""
        entity = self.bias.entity(support)
        if self.world.goal == "ranking":
            weight = taste(support.rating, self.world, self.method.dislike)
        else:
            weight = self.bias.residual(support) - entity
        return {"partner": support.partner, "weight": weight * support.mask, "shown": support.mask, "entity": entity}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        near = support_times(state["partner"], state["weight"], self.likeness)
        if self.world.goal == "ranking":
            scores = near + self.method.prior * self.liked
        else:
            total = support_times(state["partner"], state["shown"].float(), self.size)
            scores = self.bias.predict(state["entity"]) + near / (self.method.damping + total)
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return int(self.likeness.count_nonzero())
