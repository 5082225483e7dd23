"""MAML: meta-learn weights from which a few gradient steps on the support answer the query.

For a task with support S and query Q, fast weights phi start at theta and all layers are adapted:

    phi_0 = theta,   phi_{i+1} = phi_i - inner_rate * d/d phi_i  L(phi_i, S),   outer loss L(phi_I, Q)

The outer gradient passes through the inner steps (second order); `second_order=False` is FOMAML,
which takes d L(phi_I, Q) / d phi_I for it. The network is net(z_p; phi) over a partner's embedding
(`baselines.nn.gradient_model`); with no hidden layer, the default, phi = (u, c) is a vector and an
offset of the entity's own.

Meta-trained on a mix of k that includes 0, where the answer is theta itself.

Chelsea Finn, Pieter Abbeel and Sergey Levine (2017), Model-Agnostic Meta-Learning for Fast
Adaptation of Deep Networks.
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
class MAML(Method):
    width: int = 32
    hidden: tuple[int, ...] = ()
    inner_steps: int = 3
    inner_rate: float = 0.1  # `ranking`
    rating_inner_rate: float = 0.02  # `rating`, whose errors are larger than a probability's
    dislike: float = 0.8  # `ranking`: the inner label is 1 for the highest rating and 1 - dislike for the lowest
    second_order: bool = True
    scale: float = 0.1  # of the embeddings at the start
    steps: int = 400
    tasks_per_step: int = 256
    learning_rate: float = 0.01
    evaluate_every: int = 25
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = GradientModel(world, Shape(self.width, self.hidden, self.scale, self.dislike), torch.Generator().manual_seed(seed))
        rate = self.inner_rate if world.goal == "ranking" else self.rating_inner_rate

        def adapt(one: Snapshot, support: Support) -> Weights:
            rates = [rate] * len(one.theta)
            return descend(one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps, self.second_order)

        def loss(episode: Episode) -> Tensor:
            one = model.now()
            return model.outer_loss(one, adapt(one, episode.support), episode)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(
            model.parameters(), TaskSampler(world, seed), loss, lambda: GradientLearner(model, model.frozen(), adapt), validate, schedule
        )
