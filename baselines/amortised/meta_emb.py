"""MetaEmb: a generator writes the first embedding of a cold entity, such that one step warms it up well.

Over a frozen factor model f(e, p) = u_e . z_p + b_p (`baselines.nn.pretrained`) and features x_e,

    u_0 = generate(x_e),   u_{i+1} = u_i - inner_rate * d/d u_i  L_a(u_i, support),   i < I = inner_steps
    loss = alpha L_a(u_0) + (1 - alpha) L_b(u_I)

L_a, the cold loss, is of the support's rows, L_b, the warm one, of the query; the generator alone is
trained, through the steps (the paper takes one), of second order. generate is a linear map of x_e and a learned vector,
which is all that is left where nothing is known of an entity. At zero shots the answer is u_0.

Feiyang Pan, Shuokai Li, Xiang Ao, Pingzhong Tang and Qing He (2019), Warm Up Cold-Start
Advertisements: Improving CTR Predictions via Learning to Learn ID Embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.features import design_matrix
from baselines.nn.meta_training import Schedule, meta_train
from baselines.nn.pretrained import Base, pretrain
from baselines.nn.vector_model import VectorLearner
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class MetaEmb(Method):
    width: int = searched(32, 8, 128, log=True)
    scale: float = 0.1  # of the base's embeddings at the start
    base_steps: int = 200
    base_learning_rate: float = searched(0.02, 0.003, 0.1, log=True)
    inner_steps: int = searched(3, 1, 6)
    inner_rate: float = searched(0.3, 0.03, 3.0, log=True)  # `ranking`
    rating_inner_rate: float = searched(0.1, 0.01, 1.0, log=True)
    dislike: float = searched(0.8, 0.0, 2.0)  # `ranking`: the inner label is 1 for the highest rating and 1 - dislike for the lowest
    alpha: float = 0.1
    steps: int = 150
    tasks_per_step: int = 256
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    evaluate_every: int = 25
    patience: int = 3

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        base = pretrain(world, self.width, self.scale, self.base_steps, self.base_learning_rate, seed)
        known = design_matrix(world.entity_features)
        start = nn.Parameter(base.mean.clone())
        generator = nn.Parameter(torch.zeros(known.shape[1], self.width, device=world.device))

        def loss(episode: Episode) -> Tensor:
            support = episode.support
            cold = generate(start, generator, known, support)
            warm = base.descend(cold, support, self._rate(world), self.inner_steps, self.dislike, learn=True)
            of_support = base.loss_of_rows(cold, support, self.dislike).sum(1) / support.count().clamp(min=1)
            return self.alpha * of_support.mean() + (1 - self.alpha) * base.model.loss(base.z, warm, episode)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(
            [start, generator], TaskSampler(world, seed + 1), loss, lambda: self._learner(base, start, generator, known), validate, schedule
        )

    def _rate(self, world: World) -> float:
        return self.inner_rate if world.goal == "ranking" else self.rating_inner_rate

    def _learner(self, base: Base, start: Tensor, generator: Tensor, known: Tensor) -> Learner:
        start, generator, world = start.detach().clone(), generator.detach().clone(), base.model.world

        def encode(_: Tensor, support: Support) -> Tensor:
            cold = generate(start, generator, known, support)
            return base.descend(cold, support, self._rate(world), self.inner_steps, self.dislike, learn=False)

        return VectorLearner(world, base.model.bias, base.z, base.b, encode, start.numel() + generator.numel())


def generate(start: Tensor, generator: Tensor, known: Tensor, support: Support) -> Tensor:
    """u_0: [T, width]."""
    return start + known[support.entity] @ generator
