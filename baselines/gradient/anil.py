"""ANIL: almost no inner loop. Only the last layer is adapted; the body below it is shared by all.

    x_p = relu(z_p W + b) (shared),   phi = (w, c) from theta by inner steps on the support
    f(e, p) = x_p . w_e + c_e + b_p

The outer gradient is of second order, and reaches the body through the inner steps. The body is
computed once for the catalogue, so adapting and scoring cost what a linear model costs. At zero
shots phi is theta.

Aniruddh Raghu, Maithra Raghu, Samy Bengio and Oriol Vinyals (2020), Rapid Learning or Feature
Reuse? Towards Understanding the Effectiveness of MAML.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.gradient_model import GradientLearner, GradientModel, Shape, Snapshot
from baselines.nn.inner_loop import Weights, descend
from baselines.nn.meta_training import Schedule, meta_train
from benchmark.contract import Learner, Method, Support, World
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class ANIL(Method):
    width: int = 32
    hidden: tuple[int, ...] = (64,)
    inner_steps: int = 3
    inner_rate: float = 0.1  # `ranking`
    rating_inner_rate: float = 0.02  # `rating`
    dislike: float = 0.8
    scale: float = 0.3
    steps: int = 400
    tasks_per_step: int = 256
    learning_rate: float = 0.005
    evaluate_every: int = 25
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = GradientModel(world, Shape(self.width, self.hidden, self.scale, self.dislike), torch.Generator().manual_seed(seed))
        rate = self.inner_rate if world.goal == "ranking" else self.rating_inner_rate

        def adapt(one: Snapshot, support: Support) -> Weights:
            rates = [0.0] * (len(one.theta) - 2) + [rate, rate]
            return descend(one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps)

        def loss(episode: Episode) -> Tensor:
            one = model.now()
            return model.outer_loss(one, adapt(one, episode.support), episode)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(
            model.parameters(), TaskSampler(world, seed), loss, lambda: GradientLearner(model, model.frozen(), adapt), validate, schedule
        )
