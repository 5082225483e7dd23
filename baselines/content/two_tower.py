"""Two towers: one network reads the entity, another the partner; their product ranks the catalogue.

    z_p = h_p + W_2' relu(W_1' h_p + c),   h_p = E_p (warm partners only) + W x_p
    u_e = V_2' relu(V_1' [sum_j y_j h_j / (k + 1); x_e] + d),   f(e, p) = u_e . z_p + b_p

x are features; y_j is a(r) on a line from 1 - dislike to 1 (`ranking`), or the residual over the damped
bias model (`rating`), which f predicts. `ranking`: softmax over candidates drawn by popularity, each
lowered by log Q, its expected count (`Negatives`; drawn from a fixed law instead of the batch).
`rating`: squared error. b_p starts at log popularity or 0, where the papers leave popularity to the
towers. At zero shots the tower reads the entity's features alone.

Paul Covington, Jay Adams and Emre Sargin (2016), Deep Neural Networks for YouTube Recommendations;
Xinyang Yi et al. (2019), Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.features import design_matrix
from baselines.nn.meta_training import Negatives, Schedule, counted, meta_train
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorLearner, VectorModel
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class TwoTower(Method):
    width: int = searched(32, 16, 128, log=True)
    hidden: int = searched(64, 16, 256, log=True)
    dislike: float = searched(1.2, 0.0, 1.5)  # `ranking`: what the lowest rating takes away
    learning_rate: float = searched(0.005, 0.0005, 0.05, log=True)  # `ranking`
    rating_learning_rate: float = searched(0.002, 0.0002, 0.02, log=True)
    weight_decay: float = searched(0.1, 0.01, 3.0, log=True)
    negatives: int = 512  # `ranking`: candidates drawn for a step
    scale: float = 0.1
    steps: int = 400
    tasks_per_step: int = 256
    evaluate_every: int = 20
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))
        negatives = Negatives(world, self.negatives, seed)

        def loss(episode: Episode) -> Tensor:
            h = model.encoder()
            u, z = model.entities(h, episode.support, tuple(model.entity_tower)), model.partners(h)
            if world.goal == "rating":
                return model.loss(z, u, episode)
            drawn, asked = negatives.draw(), episode.query_partner
            of_query = (z[asked] @ u[:, :, None]).squeeze(2) + model.b[asked]
            return negatives.softmax(drawn, u @ z[drawn].T + model.b[drawn], of_query, episode)

        def learner() -> Learner:
            with torch.no_grad():
                h, tower = model.encoder().clone(), tuple(w.clone() for w in model.entity_tower)
                z, b = model.partners(h), model.b.clone()
            own = h.numel() + sum(w.numel() for w in tower)
            return VectorLearner(world, model.bias, z, b, lambda _, support: model.entities(h, support, tower), own)

        rate = self.learning_rate if world.goal == "ranking" else self.rating_learning_rate
        schedule = Schedule(self.steps, self.tasks_per_step, rate, self.evaluate_every, self.patience, self.weight_decay)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule, counted(world, drawn=True))


Tower = tuple[Tensor, ...]


class _Model(VectorModel):
    def __init__(self, method: TwoTower, world: World, generator: torch.Generator) -> None:
        super().__init__(world, method.width, method.scale, generator)
        self.method, self.known = method, design_matrix(world.entity_features)
        width, hidden = method.width, method.hidden

        def tower(inputs: int) -> nn.ParameterList:
            sizes = ((inputs, hidden), (1, hidden), (hidden, width))
            return nn.ParameterList(
                [
                    nn.Parameter((torch.randn(*size, generator=generator) * (size[0] > 1) / size[0] ** 0.5).to(world.device))
                    for size in sizes
                ]
            )

        self.partner_tower, self.entity_tower = tower(width), tower(width + self.known.shape[1])

    def partners(self, h: Tensor) -> Tensor:
        """z: [n_partners, width]."""
        return h + through(h, tuple(self.partner_tower))

    def entities(self, h: Tensor, support: Support, tower: Tower) -> Tensor:
        """u: [T, width]."""
        ranks = self.world.goal == "ranking"
        y = taste(support.rating, self.world, self.method.dislike) * support.mask if ranks else self.left(support)
        mean = (y[:, None] @ h[support.partner]).squeeze(1) / (support.count()[:, None] + 1) / self.method.scale
        return through(torch.cat([mean, self.known[support.entity]], 1), tower)


def through(x: Tensor, tower: Tower) -> Tensor:
    """One hidden layer."""
    first, offset, second = tower
    return (x @ first + offset).relu() @ second
