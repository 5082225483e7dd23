"""Reptile: move theta towards where plain gradient descent on each task ends. No outer gradient.

    phi_I = inner steps from theta on all rows of the task,   theta <- theta + epsilon (mean phi_I - theta)

The difference theta - phi_I is handed to the outer optimiser, Adam, as a gradient; the authors suggest
that and use a plain step. With one inner step it is the inner gradient, so Reptile is then joint training. What no inner
step moves (the embeddings and b) follows the gradient of the outer loss at phi_I, of first order. At
zero shots phi is theta.

Alex Nichol, Joshua Achiam and John Schulman (2018), On First-Order Meta-Learning Algorithms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel
from baselines.nn.inner_loop import Weights, descend, whole
from benchmark.contract import Support, World
from benchmark.protocol.tasks import Episode


@dataclass(frozen=True)
class Reptile(GradientMethod):
    def rule(self, model: GradientModel) -> Adapt:
        rates = [self.rate(model.world)] * len(model.theta)
        return lambda one, support: descend(one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps)

    def loss(self, model: GradientModel, rule: Adapt, episode: Episode) -> Tensor:
        one = model.now()
        with torch.no_grad():
            end, seen = rule(one, whole_task(episode)), rule(one, episode.support)
        return model.outer_loss(one, seen, episode) + towards(one.theta, whole(end))

    def counted(self, world: World) -> None:
        """Theta's step is a mean over all tasks, the outer loss one over those with a liked query row."""


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
