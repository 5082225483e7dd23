"""MAML: meta-learn weights from which a few gradient steps on the support answer the query.

For a task with support S and query Q, and fast weights phi = (u, c) that start at theta:

    phi_0 = theta,   phi_{i+1} = phi_i - inner_rate * d/d phi_i  L(phi_i, S),   outer loss L(phi_I, Q)

The outer gradient passes through the inner steps (second order). The model scores a partner by
f(p) = z_p . u + c + b_p with z_p its embedding. The fast weights are the entity's whole model; the
table z and b_p are slow, since an inner step can only move the rows that the support touches.

`ranking`: the inner loss is logistic, its label a(r) on a line from 1 - dislike for the
lowest rating to 1 for the highest; the outer one a softmax over the catalogue.
`rating`: both are squared errors, and f is the residual over the damped bias model.

Meta-trained on a mix of k that includes 0, where the answer is theta itself.

Chelsea Finn, Pieter Abbeel and Sergey Levine (2017), Model-Agnostic Meta-Learning for Fast
Adaptation of Deep Networks; for recommendation, Hoyeop Lee et al. (2019), MeLU: Meta-Learned User
Preference Estimator for Cold-Start Recommendation, which keeps the embeddings slow likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.bias import DampedBias
from baselines.nn.features import PartnerEncoder
from baselines.nn.meta_training import (
    Schedule,
    catalogue_softmax,
    log_popularity,
    meta_train,
    squared_error,
)
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class MAML(Method):
    width: int = 32
    inner_steps: int = 3
    inner_rate: float = 0.1  # `ranking`
    rating_inner_rate: float = 0.02  # `rating`, whose errors are larger than a probability's
    dislike: float = 0.8  # `ranking`: the inner label is 1 for the highest rating and 1 - dislike for the lowest
    second_order: bool = True  # False drops the gradient of the inner gradient
    scale: float = 0.1  # of the embeddings at the start
    steps: int = 400
    tasks_per_step: int = 256
    learning_rate: float = 0.01
    weight_decay: float = 0.0
    evaluate_every: int = 25
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        generator = torch.Generator().manual_seed(seed)
        model = _Model(self, world, generator)
        bias = DampedBias.fit(world)

        def loss(episode: Episode) -> Tensor:
            z = model.encoder()
            fast = adapt(self, z, model.theta(), model.b, target_of(self, world, bias, episode.support), episode.support, world.goal)
            if world.goal == "ranking":
                return catalogue_softmax(fast[:, :-1] @ z.T + model.b, episode, world)
            near = (z[episode.query_partner] @ fast[:, :-1, None]).squeeze(2) + fast[:, -1:]
            base = bias.predict(bias.entity(episode.support), episode.query_partner)
            return squared_error(base + near + model.b[episode.query_partner], episode)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience, self.weight_decay)
        return meta_train(
            model.parameters(), TaskSampler(world, seed), loss, lambda: _learner(self, world, model, bias), validate, schedule
        )


def target_of(method: MAML, world: World, bias: DampedBias, support: Support) -> Tensor:
    """What the inner loss aims at, [T, K]: how much it was liked, or the residual over the bias model."""
    if world.goal == "ranking":
        return taste(support.rating, world, method.dislike)
    return bias.residual(support) - bias.entity(support)


def adapt(method: MAML, z: Tensor, theta: Tensor, b: Tensor, target: Tensor, support: Support, goal: str) -> Tensor:
    """phi_I, [T, width + 1]: the inner steps written out, the gradient in closed form.

    d L / d f_j is (sigmoid(f_j) - y_j) for the logistic loss and (f_j - y_j) for half the squared
    error, summed over the support; the last fast weight is the offset c.
    """
    seen = z[support.partner]
    x = torch.cat([seen, torch.ones_like(seen[:, :, :1])], 2) * support.mask[:, :, None]
    offset = b[support.partner] if goal == "rating" else torch.zeros_like(target)
    rate = method.inner_rate if goal == "ranking" else method.rating_inner_rate
    phi = theta.expand(len(support), -1)
    for _ in range(method.inner_steps):
        f = (x @ phi[:, :, None]).squeeze(2) + offset
        wrong = (f.sigmoid() if goal == "ranking" else f) - target
        gradient = (x.mT @ (wrong * support.mask)[:, :, None]).squeeze(2)
        phi = phi - rate * (gradient if method.second_order else gradient.detach())
    return phi


class _Model(nn.Module):
    def __init__(self, method: MAML, world: World, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = PartnerEncoder(world, method.width, method.scale, generator)
        self.u = nn.Parameter((torch.randn(method.width, generator=generator) * method.scale).to(world.device))
        self.c = nn.Parameter(torch.zeros(1, device=world.device))
        start = log_popularity(world) if world.goal == "ranking" else torch.zeros(world.n_partners, device=world.device)
        self.b = nn.Parameter(start)

    def theta(self) -> Tensor:
        return torch.cat([self.u, self.c])


def _learner(method: MAML, world: World, model: _Model, bias: DampedBias) -> Learner:
    with torch.no_grad():
        return _Learner(method, world, model.encoder().clone(), model.theta().clone(), model.b.detach().clone(), bias)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: MAML
    world: World
    z: Tensor  # [n_partners, width]
    theta: Tensor  # [width + 1]
    b: Tensor  # [n_partners]
    bias: DampedBias

    def adapt(self, support: Support) -> State:
        target = target_of(self.method, self.world, self.bias, support)
        fast = adapt(self.method, self.z, self.theta, self.b, target, support, self.world.goal)
        return {"fast": fast, "entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        fast = state["fast"]
        scores = fast[:, :-1] @ self.z.T + fast[:, -1:] + self.b
        if self.world.goal == "rating":
            scores = scores + self.bias.predict(state["entity"])
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return self.z.numel() + self.theta.numel() + self.b.numel()
