"""The damped bias model, which neural rating methods predict the residual of.

    r_hat(e, p) = mu + b_e + b_p

b_p = sum(r - mu - b_e) / (10 + n_p),   b_e = sum(r - mu - b_p) / (5 + n_e), alternated. A cold
entity gets b_e from her support in closed form; at zero shots b_e = 0.

Yehuda Koren (2010), Factor in the Neighbors: Scalable and Accurate Collaborative Filtering.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.contract import Ratings, Support, World

SWEEPS = 8


@dataclass(frozen=True, eq=False)
class DampedBias:
    mean: Tensor  # [] float32
    partner: Tensor  # [n_partners] float32
    entity_damping: float

    @classmethod
    def fit(cls, world: World, partner_damping: float = 10.0, entity_damping: float = 5.0) -> DampedBias:
        """Alternates the two closed forms over the warm rows."""
        rows: Ratings = world.ratings
        mean = rows.rating.double().mean()
        rating = rows.rating.double() - mean
        n_entity = torch.bincount(rows.entity, minlength=world.n_entities) + entity_damping
        n_partner = torch.bincount(rows.partner, minlength=world.n_partners) + partner_damping
        entity = torch.zeros(world.n_entities, dtype=torch.float64, device=world.device)
        partner = torch.zeros(world.n_partners, dtype=torch.float64, device=world.device)
        for _ in range(SWEEPS):
            left = rating - entity[rows.entity]
            partner = torch.zeros_like(partner).index_add_(0, rows.partner, left) / n_partner
            left = rating - partner[rows.partner]
            entity = torch.zeros_like(entity).index_add_(0, rows.entity, left) / n_entity
        return cls(mean.float(), partner.float(), entity_damping)

    def residual(self, support: Support) -> Tensor:
        """rating - mu - b_p of the support, 0 where masked: [T, K]."""
        return (support.rating - self.mean - self.partner[support.partner]) * support.mask

    def warm_entity(self, world: World) -> Tensor:
        """b_e of every entity from all of her warm rows: [n_entities], 0 where she has none."""
        rows = world.ratings
        left = rows.rating - self.mean - self.partner[rows.partner]
        n = torch.bincount(rows.entity, minlength=world.n_entities).float() + self.entity_damping
        return torch.zeros_like(n).index_add_(0, rows.entity, left) / n

    def warm_residual(self, world: World) -> Tensor:
        """r - mu - b_e - b_p of the warm rows: [N]."""
        rows = world.ratings
        return rows.rating - self.mean - self.partner[rows.partner] - self.warm_entity(world)[rows.entity]

    def entity(self, support: Support) -> Tensor:
        """b_e: [T, 1]."""
        total = self.residual(support).sum(1, keepdim=True)
        return total / (support.count()[:, None] + self.entity_damping)

    def predict(self, entity: Tensor, partner: Tensor | None = None) -> Tensor:
        """r_hat [T, C] for b_e [T, 1] and partners [T, C], or every partner."""
        b = self.partner[None] if partner is None else self.partner[partner]
        return self.mean + entity + b
