"""LightGCN: embeddings smoothed over the graph of who liked what, and nothing else; a new entity is a node more.

    E^(l+1) = A E^(l),   A = D^-1/2 (graph) D^-1/2,   z = mean over l = 0 .. layers of E^(l),   s(p) = z_e . z_p

A cold entity is attached by her rows: her E^(0) is the warm entities' mean (no id was learned for her), and

    e_e^(l+1) = sum over her rows of a(r) e_p^(l) / sqrt(n_e n_p),

with the partners' layers left as they are. An edge weighs a(r), which grows from 1 - dislike for the lowest rating to
1. A degree n is a sum of |a|, to which the graph of the warm adds degree_damping, n_p included; the n_e of an attached
entity is the sum alone (reading="liked" with degree_damping=0 gives the paper's edges).
The paper trains by BPR and starts each warm entity from her own embedding; here the loss is a softmax over the
catalogue, each liked row being right, and the entities of a step are seen as cold ones are: from the mean, by half of
their rows or by about k, drawn from the shots to come. b_p, which starts at log popularity, is not in the paper
either: at zero shots it is what ranks.

Xiangnan He, Kuan Deng, Xiang Wang, Yan Li, Yongdong Zhang and Meng Wang (2020), LightGCN: Simplifying and Powering
Graph Convolution Network for Recommendation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.feedback import READINGS, feedback
from baselines.nn.meta_training import log_popularity
from baselines.nn.sparse_rows import SparseRows, support_times
from baselines.nn.thinned_histories import ThinnedHistories
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class LightGCN(Method):
    width: int = searched(64, 16, 128, log=True)
    layers: int = searched(2, 1, 3)
    scale: float = 0.01  # of the first embeddings
    degree_damping: float = searched(10.0, 0.0, 100.0)  # added to the warm's degrees: a partner met once would else speak the loudest
    steps: int = 160
    entities_per_step: int = 512
    learning_rate: float = searched(0.03, 0.003, 0.1, log=True)
    weight_decay: float = searched(0.1, 0.001, 3.0, log=True)
    evaluate_every: int = 10
    patience: int = 4  # evaluations without a better one before stopping
    reading: str = searched("taste", choices=READINGS)  # what an edge weighs
    dislike: float = searched(1.1, 0.0, 2.0)  # of `taste`: what the lowest rating takes away

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        value = feedback(world.ratings.rating, world, self.reading, self.dislike)
        graph, luck = _Graph(world, value, self.degree_damping), torch.Generator().manual_seed(seed)
        entity, partner, b = (
            nn.Parameter(first.to(world.device))
            for first in (
                torch.randn(world.n_entities, self.width, generator=luck) * self.scale,
                torch.randn(world.n_partners, self.width, generator=luck) * self.scale,
                log_popularity(world),
            )
        )
        histories = ThinnedHistories(world, value, 0.5, torch.Generator(world.device).manual_seed(seed))
        optimiser = torch.optim.AdamW([entity, partner, b], lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

        def learner() -> _Learner:
            with torch.no_grad():
                seen, whole = graph.smooth(entity, partner, self.layers)
                return _Learner(self, world, graph.weight(seen), whole, graph.mean(entity), b.detach().clone(), entity.numel())

        best, best_score, since = learner(), -math.inf, 0
        for step in range(1, self.steps + 1):
            optimiser.zero_grad()
            some = histories.shuffled()[: max(16, min(self.entities_per_step, histories.n_able // 3))]
            rows, x, y = histories.draw(some)
            seen, whole = graph.smooth(entity, partner, self.layers)
            degree = rows.times(x.new_ones(len(partner), 1), x.abs()).clamp(min=1e-6).sqrt()
            z = (graph.mean(entity) + rows.times(graph.weight(seen), x) / degree) / (self.layers + 1)
            (-(torch.log_softmax(torch.addmm(b, z, whole.T), 1) * y).sum(1).mean()).backward()
            optimiser.step()
            if step % self.evaluate_every and step != self.steps:
                continue
            one = learner()
            score = validate(one)
            best, best_score, since = (one, score, 0) if score > best_score else (best, best_score, since + 1)
            if since >= self.patience:
                break
        return best


class _Graph:
    """The warm rows as weighted edges, grouped both ways."""

    def __init__(self, world: World, value: Tensor, damping: float) -> None:
        rows = world.ratings

        def root(side: Tensor, n: int) -> Tensor:
            return torch.zeros(n, device=value.device).index_add_(0, side, value.abs()).add(damping).clamp(min=1e-6).sqrt()

        self._root, of_entity = root(rows.partner, world.n_partners), root(rows.entity, world.n_entities)
        weight = value / (of_entity[rows.entity] * self._root[rows.partner])
        self._to_entity = SparseRows.of(rows.entity, rows.partner, world.n_entities)
        self._to_partner = SparseRows.of(rows.partner, rows.entity, world.n_partners)
        self._weights = weight[self._to_entity.order], weight[self._to_partner.order]
        self._warm = (self._to_entity.count() > 0).nonzero().flatten()

    def mean(self, entity: Tensor) -> Tensor:
        """The warm entities' mean E^(0): [d]."""
        return entity[self._warm].mean(0)

    def weight(self, seen: Tensor) -> Tensor:
        """Partners' vectors over the root of their degree: what an edge to each brings an entity of degree 1."""
        return seen / self._root[:, None]

    def smooth(self, entity: Tensor, partner: Tensor, layers: int) -> tuple[Tensor, Tensor]:
        """The sum of the partners' layers below the last, which entities read, and the mean of all, z_p: both [n_partners, d]."""
        seen = torch.zeros_like(partner)
        to_entity, to_partner = (self._to_entity, self._weights[0]), (self._to_partner, self._weights[1])
        for _ in range(layers):
            seen = seen + partner
            entity, partner = _Spread.apply(partner, *to_entity, *to_partner), _Spread.apply(entity, *to_partner, *to_entity)
        return seen, (seen + partner) / (layers + 1)


class _Spread(torch.autograd.Function):
    """A product with the graph, whose gradient is one with the graph turned round."""

    @staticmethod
    def forward(ctx, table: Tensor, rows: SparseRows, weight: Tensor, turned: SparseRows, turned_weight: Tensor) -> Tensor:
        ctx.back = (turned, turned_weight)
        return rows.times(table, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        turned, weight = ctx.back
        return turned.times(grad.contiguous(), weight), None, None, None, None


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: LightGCN
    world: World
    seen: Tensor  # [n_partners, d], over the root of the degree
    z: Tensor  # [n_partners, d]
    mean: Tensor  # [d]
    b: Tensor  # [n_partners]
    n_entity: int  # numbers of the warm entities' embeddings

    def adapt(self, support: Support) -> State:
        x = feedback(support.rating, self.world, self.method.reading, self.method.dislike) * support.mask
        root = x.abs().sum(1, keepdim=True).clamp(min=1e-6).sqrt()
        return {"z": (self.mean + support_times(support.partner, x, self.seen) / root) / (self.method.layers + 1)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        scores = torch.addmm(self.b, state["z"], self.z.T)
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return self.n_entity + self.z.numel() + self.b.numel()
