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
from benchmark.protocol.tasks import Episode, Histories, TaskSampler

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


class BothSampler(TaskSampler):
    """Tasks of entities met in both domains, shaped like the tests to come: source rows and k target rows, then more target rows.

    As in `TaskSampler`, each epoch orders every history at random once, and a task is a window of it.
    """

    def __init__(self, world: World, source: Domain, target: Domain, seed: int, n_source: int = 64, n_query: int = 20) -> None:
        """Raises ValueError where no warm entity has a source row, and a target row more than the largest support."""
        self._world, self._n_source, self._n_query, self._pool = world, n_source, n_query, max(world.shots)
        self._generator = torch.Generator(world.device).manual_seed(seed)
        self._shots = torch.tensor(world.shots, device=world.device)
        self._source, self._target = Histories(source.rows, world.n_entities), Histories(target.rows, world.n_entities)
        self._able = torch.nonzero((self._source.rows > 0) & (self._target.rows > self._pool)).flatten()
        if len(self._able) == 0:
            raise ValueError(
                f"no warm entity has a source row and more than {self._pool} target rows; trim the board's shots for this data set"
            )
        self._source_order = self._target_order = torch.empty(0, dtype=torch.int64)
        self._drawn = self._reshuffle_after = 0

    def sample(self, n_tasks: int) -> Episode:
        if self._drawn >= self._reshuffle_after:
            self._shuffle()
        self._drawn += n_tasks
        entity = self._able[self._integers(len(self._able), n_tasks)]
        partner, rating, mask = self._window(self._source, self._source_order, entity, self._n_source)
        more, given, real = self._window(self._target, self._target_order, entity, self._pool + self._n_query)
        pool, query = slice(None, self._pool), slice(self._pool, None)
        k = self._shots[self._integers(len(self._shots), n_tasks)]
        shown = torch.arange(self._pool, device=k.device) < k[:, None]
        partner, rating = torch.cat([partner, more[:, pool] * shown], 1), torch.cat([rating, given[:, pool] * shown], 1)
        support = Support(entity, partner, rating, partner * 0, torch.cat([mask, shown], 1))
        return Episode(support, more[:, pool], more[:, query], given[:, query], real[:, query])

    def _shuffle(self) -> None:
        self._source_order, self._target_order = self._shuffled(self._source), self._shuffled(self._target)
        self._reshuffle_after = self._drawn + max(len(self._able), 16 * 256)

    def _shuffled(self, histories: Histories) -> Tensor:
        """The rows, each entity's in an order of their own: [N] int64."""
        luck = torch.rand(len(histories.entity), generator=self._generator, device=self._world.device, dtype=torch.float64)
        return torch.argsort(histories.entity + luck)

    def _window(self, histories: Histories, order: Tensor, entity: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Partner, rating and mask [T, most] of rows that follow each other in `order`, from a random one."""
        rows, place = histories.rows[entity, None], torch.arange(most, device=entity.device)
        start = (torch.rand(len(entity), 1, generator=self._generator, device=entity.device) * rows).long()
        row, mask = order[histories.offset[entity, None] + (start + place) % rows], place < rows
        return histories.partner[row] * mask, histories.rating[row] * mask, mask
