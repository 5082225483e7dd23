"""Reptile: move theta towards where plain gradient descent on each task ends. No outer gradient.

    phi_I = inner steps from theta on all rows of the task,   theta <- theta + epsilon (mean phi_I - theta)

The difference theta - phi_I is handed to the outer optimiser as a gradient, as the authors do with
Adam. With one inner step it is the inner gradient, so Reptile is then joint training. What no inner
step moves (the embeddings and b) follows the gradient of the outer loss at phi_I, of first order. At
zero shots phi is theta.

Alex Nichol, Joshua Achiam and John Schulman (2018), On First-Order Meta-Learning Algorithms.
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
class Reptile(Method):
    width: int = 32
    hidden: tuple[int, ...] = ()
    inner_steps: int = 3
    inner_rate: float = 0.1  # `ranking`
    rating_inner_rate: float = 0.02  # `rating`
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

        def adapt(one: Snapshot, support: Support) -> Weights:
            rates = [rate] * len(one.theta)
            return descend(one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps)

        def loss(episode: Episode) -> Tensor:
            one = model.now()
            with torch.no_grad():
                end, seen = adapt(one, whole_task(episode)), adapt(one, episode.support)
            return model.outer_loss(one, seen, episode) + towards(one.theta, end)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(
            model.parameters(), TaskSampler(world, seed), loss, lambda: GradientLearner(model, model.frozen(), adapt), validate, schedule
        )


def whole_task(episode: Episode) -> Support:
    """All rows of each training task, support and query, as one support."""
    support = episode.support
    return Support(
        support.entity,
        torch.cat([support.partner, episode.query_partner], 1),
        torch.cat([support.rating, episode.query_rating], 1),
        torch.cat([support.time, episode.query_partner * 0], 1),
        torch.cat([support.mask, episode.query_mask], 1),
    )


def towards(theta: Weights, end: Weights) -> Tensor:
    """A number whose gradient in theta is theta - mean phi_I: Reptile's step as a gradient."""
    halves = [(w - phi.mean(0).view_as(w).detach()).square().sum() / 2 for w, phi in zip(theta, end, strict=True)]
    return torch.stack(halves).sum()
