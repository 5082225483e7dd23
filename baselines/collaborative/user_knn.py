"""User-kNN: a new entity is told by the warm entities that rated as she did.

Likeness of e, from her support, to each warm v, over the n_ev partners that both rated:

    cosine   a_e . a_v / (|a_e| |a_v|) * n_ev / (n_ev + shrink),  a(r) growing from 1 - dislike for the lowest rating to 1
    msd      1 / (mean squared difference of ratings + 1)
    pearson  y_e . y_v / (|y_e| |y_v|) * n_ev / (n_ev + shrink),  y residuals of the damped bias model, norms over the both rated

`ranking`: over the `neighbours` nearest by cosine,  s(p) = sum w_ev a(r_vp) / sum w_ev + prior * share that liked p
`rating`: over the `rating_neighbours` nearest among those who rated p, none below 0,

    r_hat(e, p) = mu + b_e + b_p + sum w_ev (r_vp - mu - b_v - b_p) / (damping + sum w_ev)

A warm entity is no neighbour of her own. At zero shots nobody is near: popularity, or the bias model.

Paul Resnick, Neophytos Iacovou, Mitesh Suchak, Peter Bergstrom and John Riedl (1994), GroupLens: An Open Architecture for
Collaborative Filtering of Netnews; baselines and shrinkage: Yehuda Koren (2010), Factor in the Neighbors. With
likeness="msd" and damping=0 it is KNNBaseline of scikit-surprise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import chunks
from baselines.nn.feedback import liked_share
from baselines.nn.sparse_rows import SparseRows, support_times
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched, waits

CELLS_AT_ONCE = 200_000  # likenesses gathered for one run of partners
TIE = 1e-5  # likenesses that differ by less are equal


@dataclass(frozen=True)
class UserKNN(Method):
    neighbours: int = searched(100, 10, 400, log=True)
    shrink: float = searched(10.0, 0.0, 100.0)
    prior: float = searched(0.05, 0.005, 1.0, log=True)  # `ranking`: weight of popularity
    dislike: float = searched(1.1, 0.0, 2.0)  # `ranking`: what the lowest rating takes away; above 1 it speaks against its like
    likeness: str = searched("pearson", choices=("pearson", "msd"))  # `rating`
    rating_neighbours: int = searched(80, 10, 400, log=True)
    damping: float = searched(2.0, 0.0, 10.0)  # `rating`: pulls a thin neighbourhood towards the bias model
    partner_damping: float = 10.0
    entity_damping: float = 5.0

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        bias, rows = DampedBias.fit(world, self.partner_damping, self.entity_damping), world.ratings
        left = bias.warm_residual(world)
        if world.goal == "ranking":
            value = taste(rows.rating, world, self.dislike)
        else:
            value = rows.rating - bias.mean if self.likeness == "msd" else left
        table = torch.zeros(2, world.n_partners, world.n_entities, device=world.device)
        table[0, rows.partner, rows.entity] = value
        table[1, rows.partner, rows.entity] = 1.0
        raters = SparseRows.of(rows.partner, rows.entity, world.n_partners)
        # Ranking reads whole rows of the entities, rating the squares over what both have rated.
        third = table[0].T.contiguous() if world.goal == "ranking" else table[0].square()
        most = max(1, int(raters.count().max()))
        return _Learner(self, world, bias, table[0], table[1], third, raters, left[raters.order], self.prior * liked_share(world), most)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: UserKNN
    world: World
    bias: DampedBias
    value: Tensor  # [n_partners, n_entities]: what likeness compares, 0 where not rated
    rated: Tensor  # [n_partners, n_entities] of zeros and ones
    third: Tensor  # `ranking`: value turned round, [n_entities, n_partners]; `rating`: value squared
    raters: SparseRows  # who rated each partner
    left: Tensor  # [N], in the order of the raters: their residuals over the bias model
    prior: Tensor  # [n_partners]
    most: int  # raters of one partner

    def adapt(self, support: Support) -> State:
        """`ranking`: each entity keeps her neighbours and their weights; `rating`: her rows, 12 bytes each."""
        if self.world.goal == "ranking":
            w = self.likeness(support.entity, support.partner, taste(support.rating, self.world, self.method.dislike), support.mask)
            w, near = w.topk(min(self.method.neighbours, w.shape[1]), 1)
            return {"near": near, "w": w / w.sum(1, keepdim=True).clamp(min=1e-9)}
        entity = self.bias.entity(support)
        value = support.rating - self.bias.mean if self.method.likeness == "msd" else self.bias.residual(support) - entity
        return {"id": support.entity, "partner": support.partner, "value": value, "mask": support.mask, "entity": entity}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if self.world.goal == "ranking":
            scores = support_times(state["near"], state["w"], self.third) + self.prior
            return scores if partner is None else scores.gather(1, partner)
        w = self.likeness(state["id"], state["partner"], state["value"], state["mask"])
        asked = torch.arange(self.world.n_partners, device=w.device).expand(len(w), -1) if partner is None else partner
        return self.bias.predict(state["entity"], partner) + self.near(w, asked)

    def likeness(self, entity: Tensor, partner: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """w of each warm entity, 0 where below it and for the entity herself: [T, n_entities]."""
        value, shown = value * mask, mask.float()
        dot, both = support_times(partner, value, self.value), support_times(partner, shown, self.rated)
        trust = both / (both + self.method.shrink).clamp(min=1e-9)
        if self.world.goal == "ranking":
            w = dot / (value.norm(dim=1, keepdim=True) * self.third.norm(dim=1)).clamp(min=1e-9) * trust
        else:
            own, other = support_times(partner, value.square(), self.rated), support_times(partner, shown, self.third)
            if self.method.likeness == "msd":
                w = (both > 0) / ((own - 2 * dot + other).clamp(min=0) / both.clamp(min=1) + 1)
            else:
                w = dot / (own * other).clamp(min=1e-9).sqrt() * trust
        return w.clamp(min=0).scatter(1, entity[:, None], 0.0)

    def near(self, w: Tensor, partner: Tensor) -> Tensor:
        """What the nearest raters of each partner [T, C] say above the bias model: [T, C].

        Each pair of a task and a partner is worked on once, in runs of like numbers of raters; where the host would
        wait for both, every pair as if its partner had as many raters as any.
        """
        rows = self.raters.count()
        pair = torch.arange(len(w), device=w.device)[:, None] * len(rows) + partner
        if waits(w):
            pairs = [pair.flatten()[run] for run in chunks(pair.numel(), self.most, w.device)]
            return torch.cat([self._near(w, run, self.most) for run in pairs]).view_as(pair)
        pair, place = torch.unique(pair, return_inverse=True)
        pair_rows, order = rows[pair % len(rows)].sort(stable=True)
        found, at, longest = w.new_zeros(len(pair)), len(pair), pair_rows.tolist()
        while at > 0 and longest[at - 1] > 0:
            run = order[max(0, at - max(1, CELLS_AT_ONCE // longest[at - 1])) : at]
            found[run] = self._near(w, pair[run], longest[at - 1])
            at -= len(run)
        return found[place]

    def _near(self, w: Tensor, pair: Tensor, longest: int) -> Tensor:
        task, partner = pair // len(self.prior), pair % len(self.prior)
        cell = torch.arange(longest, device=w.device)
        real = cell < self.raters.count()[partner, None]
        cell = (self.raters.offset[partner, None] + cell) * real
        like = w.flatten()[task[:, None] * w.shape[1] + self.raters.column[cell]] * real
        # All raters as near as the last one share the places left: an order among ties would be the luck of the last bits.
        last = like.topk(min(self.method.rating_neighbours, longest), 1).values[:, -1:]
        nearer, tied = like > last + TIE, (like - last).abs() <= TIE
        share = (self.method.rating_neighbours - nearer.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
        like = like * (nearer + tied * share.clamp(max=1.0))
        return (like * self.left[cell]).sum(1) / (self.method.damping + like.sum(1)).clamp(min=1e-9)

    def parameters(self) -> int:
        return len(self.left) + self.bias.partner.numel()
