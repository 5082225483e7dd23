"""Two domains with the same entities: a factor model of each, and who was met in both.

Partners of domain 0 are the target's, all others the source's. Factors by alternating least squares on
y (a(r) at `ranking`, where a pair without a row counts as 0 with weight w; the residual over the damped
bias model at `rating`, where it counts nothing; `baselines.nn.alternating`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.alternating import Side, fold_in
from baselines.nn.bias import DampedBias
from baselines.nn.taste import taste
from benchmark.contract import Ratings, Support, World

ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Domain:
    """One domain's rows, and its factors; zeros for partners of the other and for entities without a row."""

    rows: Ratings
    v: Tensor  # [n_partners, d]
    u: Tensor  # [n_entities, d]
    gram: Tensor  # [d, d]
    inside: Tensor  # [n_partners] bool
    damping: float
    unobserved: float

    def fold(self, support: Support, y: Tensor) -> Tensor:
        """u [T, d] of the support's rows in this domain, whose y [T, K] is given."""
        shown = support.mask & self.inside[support.partner]
        return fold_in(self.v[support.partner] * shown[:, :, None], y * shown, self.gram, self.damping, self.unobserved)

    def seen(self, support: Support, y: Tensor) -> tuple[Tensor, Tensor]:
        """The factors [T, K, d] and y [T, K] of the support's rows in this domain, zeros elsewhere."""
        shown = support.mask & self.inside[support.partner]
        return self.v[support.partner] * shown[:, :, None], y * shown


def one_domain_only(world: World) -> str | None:
    """Why nothing can be carried over, as a phrase, or None."""
    return None if bool((world.partner_domain > 0).any()) else "there is one domain only"


def signal(world: World, bias: DampedBias, support: Support, dislike: float) -> Tensor:
    """y of the support's rows, 0 where masked: [T, K]."""
    if world.goal == "ranking":
        return taste(support.rating, world, dislike) * support.mask
    return (bias.residual(support) - bias.entity(support)) * support.mask


def two_domains(
    world: World, bias: DampedBias, width: int, damping: float, unobserved: float, dislike: float, seed: int
) -> tuple[Domain, Domain]:
    """The source and the target, factorised apart."""
    rows, ranks = world.ratings, world.goal == "ranking"
    y = taste(rows.rating, world, dislike) if ranks else bias.warm_residual(world)
    found = []
    for luck, inside in enumerate((world.partner_domain > 0, world.partner_domain == 0)):
        chosen = inside[rows.partner]
        own = Ratings(rows.entity[chosen], rows.partner[chosen], rows.rating[chosen], rows.time[chosen])
        generator = torch.Generator().manual_seed(2 * seed + luck)
        v = (torch.randn(world.n_partners, width, generator=generator) * 0.1).to(world.device) * inside[:, None]
        w = unobserved if ranks else 0.0
        by_entity = Side(own.entity, own.partner, y[chosen], world.n_entities)
        by_partner = Side(own.partner, own.entity, y[chosen], world.n_partners)
        for _ in range(ROUNDS):
            v = by_partner.solve(by_entity.solve(v, damping, w), damping, w)
        found.append(Domain(own, v, by_entity.solve(v, damping, w), v.T @ v, inside, damping, w))
    return found[0], found[1]
