"""Meta-SGD: the inner rates are learned too, one for each weight, with their sign.

    phi_0 = theta,   phi_{i+1} = phi_i - alpha * d/d phi_i  L(phi_i, S)     (* elementwise)

theta and alpha are meta-trained together, by the outer loss after the inner steps (second order); a
coordinate in which a few ratings mislead learns a rate near 0. At zero shots phi is theta.

Zhenguo Li, Fengwei Zhou, Fei Chen and Hang Li (2017), Meta-SGD: Learning to Learn Quickly for
Few-Shot Learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.gradient_model import GradientLearner, GradientModel, Shape, Snapshot
from baselines.nn.inner_loop import Weights, descend
from baselines.nn.meta_training import Schedule, meta_train
from benchmark.contract import Learner, Method, Support, World
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class MetaSGD(Method):
    width: int = 32
    hidden: tuple[int, ...] = ()
    inner_steps: int = 1  # as published
    inner_rate: float = 0.2  # where the rates start, `ranking`
    rating_inner_rate: float = 0.04  # where the rates start, `rating`
    dislike: float = 0.8
    scale: float = 0.1
    steps: int = 400
    tasks_per_step: int = 256
    learning_rate: float = 0.01
    evaluate_every: int = 25
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = GradientModel(world, Shape(self.width, self.hidden, self.scale, self.dislike), torch.Generator().manual_seed(seed))
        rate = self.inner_rate if world.goal == "ranking" else self.rating_inner_rate
        model.rates.extend(nn.Parameter(torch.full_like(w, rate)) for w in model.theta)

        def adapt(one: Snapshot, support: Support) -> Weights:
            return descend(one.theta, one.z[support.partner], model.wrong(one, support), one.rates, self.inner_steps)

        def loss(episode: Episode) -> Tensor:
            one = model.now()
            return model.outer_loss(one, adapt(one, episode.support), episode)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(
            model.parameters(), TaskSampler(world, seed), loss, lambda: GradientLearner(model, model.frozen(), adapt), validate, schedule
        )
