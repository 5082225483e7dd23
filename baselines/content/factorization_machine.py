"""Factorization machine: every two features that are present meet in one product.

    f(x) = sum_i w_i x_i + sum_{i < j} <v_i, v_j> x_i x_j = sum_i w_i x_i + (|sum_i v_i x_i|^2 - sum_i |v_i|^2 x_i^2) / 2

x lays side by side the partner's features and id (warm partners), the entity's features, and her
support as a bag: of each support partner j, y_j / sqrt(k), with y = a(r) on a line from 1 - dislike
to 1 (`ranking`), or the residual over the damped bias model (`rating`), whose f it predicts. The sums
split into a partner's (S_p, c_p) and an entity's (S_e, c_e), so that a catalogue is one product,

    f(e, p) = S_p . S_e + c_p + c_e

Trained by a softmax over the catalogue or by squared error, on supports of every size, instead of
row by row. At zero shots the bag is empty: what features say, and c_p, which starts at log popularity or 0.

Steffen Rendle (2010), Factorization Machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.features import Known, design_matrix
from baselines.nn.meta_training import Schedule, counted, meta_train
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorLearner, VectorModel
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class FM(Method):
    width: int = searched(32, 8, 128, log=True)
    dislike: float = searched(1.2, 0.0, 1.5)  # `ranking`: what the lowest rating takes away
    weight_decay: float = searched(0.2, 0.01, 3.0, log=True)
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)  # `ranking`
    rating_learning_rate: float = searched(0.003, 0.0003, 0.03, log=True)
    scale: float = 0.03
    steps: int = 400
    tasks_per_step: int = 256
    evaluate_every: int = 20
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))

        def loss(episode: Episode) -> Tensor:
            z = model.partners()
            return model.loss(z, model.entities(episode.support, model.numbers()), episode)

        def learner() -> Learner:
            with torch.no_grad():
                z, b, numbers = model.partners().clone(), model.b.clone(), tuple(n.clone() for n in model.numbers())
            own = sum(p.numel() for p in (model.bag, model.bag_w, model.v, model.w))
            return VectorLearner(world, model.bias, z, b, lambda _, support: model.entities(support, numbers), own)

        rate = self.learning_rate if world.goal == "ranking" else self.rating_learning_rate
        schedule = Schedule(self.steps, self.tasks_per_step, rate, self.evaluate_every, self.patience, self.weight_decay)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule, counted(world))


Numbers = tuple[Tensor, Tensor, Tensor, Tensor]


class _Model(VectorModel):
    """The encoder holds v of the partner's id and features, b and `content_w` their w."""

    def __init__(self, method: FM, world: World, generator: torch.Generator) -> None:
        super().__init__(world, method.width, method.scale, generator)
        self.method, self.known = method, design_matrix(world.entity_features)

        def drawn(rows: int, scale: float) -> nn.Parameter:
            return nn.Parameter((torch.randn(rows, method.width, generator=generator) * scale).to(world.device))

        self.bag, self.v = drawn(world.n_partners, method.scale), drawn(self.known.shape[1], method.scale)
        self.bag_w = nn.Parameter(torch.zeros(world.n_partners, device=world.device))
        self.w = nn.Parameter(torch.zeros(self.known.shape[1], device=world.device))
        self.squared = Known(self.encoder.known.x.square())
        self.content_w = nn.Parameter(torch.zeros(self.encoder.known.x.shape[1], device=world.device))

    def numbers(self) -> Numbers:
        """v and w of the bag and of the entity's features."""
        return self.bag, self.bag_w, self.v, self.w

    def partners(self) -> Tensor:
        """(S_p, c_p less b_p, 1): [n_partners, width + 2]."""
        one = self.encoder
        s = one()
        squares = one.identity.square().sum(1) * one.warm[:, 0] + self.squared(one.content.square().sum(1, keepdim=True))[:, 0]
        c = one.known(self.content_w[:, None])[:, 0] + (s.square().sum(1) - squares) / 2
        return torch.cat([s, c[:, None], torch.ones_like(c)[:, None]], 1)

    def entities(self, support: Support, numbers: Numbers) -> Tensor:
        """(S_e, 1, c_e): [T, width + 2]."""
        bag, bag_w, v, w = numbers
        y = taste(support.rating, self.world, self.method.dislike) if self.world.goal == "ranking" else self.left(support)
        y = y * support.mask / support.count()[:, None].clamp(min=1).sqrt()
        x, seen = self.known[support.entity], bag[support.partner]
        s = x @ v + (y[:, None] @ seen).squeeze(1)
        squares = x.square() @ v.square().sum(1) + (y.square() * seen.square().sum(2)).sum(1)
        c = x @ w + (y * bag_w[support.partner]).sum(1) + (s.square().sum(1) - squares) / 2
        return torch.cat([s, torch.ones_like(c)[:, None], c[:, None]], 1)
