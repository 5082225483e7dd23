"""Second-order MAML over content, two ways that are easy to read: the loop of public code, and a plain vmap.

The model is MeLU's: fields of partner and entity side by side, two hidden layers, one inner step on
all of them, squared errors of the residual inside and outside.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from baselines.gradient.maml import MAML
from baselines.gradient.melu import MeLU
from baselines.nn.gradient_model import GradientMethod, GradientModel
from benchmark.contract import Support
from benchmark.protocol.tasks import Episode

METHODS: dict[str, GradientMethod] = {"melu": MeLU(scale=0.3), "maml": MAML(hidden=(64, 64), inner_steps=1)}


class Network(nn.Module):
    """x [N, d] to one number a row."""

    def __init__(self, theta: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*w.shape, dtype=w.dtype) for w in theta[::2])
        with torch.no_grad():
            for layer, w, b in zip(self.layers, theta[::2], theta[1::2], strict=True):
                layer.weight.copy_(w.T)
                layer.bias.copy_(b[0])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x).squeeze(-1)


@dataclass(frozen=True, eq=False)
class Content:
    """What is learned."""

    network: Network
    partner: nn.Module  # rows [N] -> their fields [N, d_p]
    entity: nn.Module  # rows [N] -> their fields [N, d_e]
    b: nn.Parameter  # [n_partners]

    def parameters(self) -> list[nn.Parameter]:
        return [*self.network.parameters(), *self.partner.parameters(), *self.entity.parameters(), self.b]


@dataclass(frozen=True, eq=False)
class Batch:
    """T tasks, padded; y is what the bias model leaves of the rating."""

    entity: Tensor  # [T]
    partner: Tensor  # [T, K]
    y: Tensor  # [T, K]
    mask: Tensor  # [T, K]
    query: Tensor  # [T, Q]
    query_y: Tensor  # [T, Q]


def loop_loss(model: Content, batch: Batch, rate: float) -> Tensor:
    """Task by task with functional_call and create_graph, as public libraries do."""
    total = torch.zeros((), dtype=batch.y.dtype)
    for t in range(len(batch.y)):
        own = model.entity(batch.entity[t : t + 1])
        phi = adapted(model, batch, t, own, rate, create_graph=True)
        total = total + (predicted(model, phi, own, batch.query[t]) - batch.query_y[t]).square().mean()
    return total / len(batch.y)


def adapted(model: Content, batch: Batch, t: int, own: Tensor, rate: float, create_graph: bool = False) -> dict[str, Tensor]:
    """The network's weights after one step on the support of task t, by autograd; `own` [1, d_e] are its entity's fields."""
    theta = dict(model.network.named_parameters())
    f = predicted(model, theta, own, batch.partner[t, batch.mask[t]])
    inner = (f - batch.y[t, batch.mask[t]]).square().sum() / 2
    steps = torch.autograd.grad(inner, list(theta.values()), create_graph=create_graph)
    return {name: w - rate * g for (name, w), g in zip(theta.items(), steps, strict=True)}


def predicted(model: Content, phi: dict[str, Tensor], own: Tensor, partner: Tensor) -> Tensor:
    """The residual of one entity with the partners [N]: [N]."""
    x = torch.cat([model.partner(partner), own.expand(len(partner), -1)], 1)
    return functional_call(model.network, phi, x) + model.b[partner]


def vmap_loss(model: Content, batch: Batch, rate: float) -> Tensor:
    """The same over all tasks at once: vmap of grad, a few lines."""
    theta = dict(model.network.named_parameters())

    def inner(phi: dict[str, Tensor], x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        return ((functional_call(model.network, phi, x) - y).square() * mask).sum() / 2

    def outer(x: Tensor, y: Tensor, mask: Tensor, query: Tensor, query_y: Tensor) -> Tensor:
        steps = grad(inner)(theta, x, y, mask)
        phi = {name: w - rate * steps[name] for name, w in theta.items()}
        return (functional_call(model.network, phi, query) - query_y).square().mean()

    own = model.entity(batch.entity)[:, None]
    x, query = (
        torch.cat([model.partner(rows.flatten()).view(*rows.shape, -1), own.expand(-1, rows.shape[1], -1)], 2)
        for rows in (batch.partner, batch.query)
    )
    y, query_y = batch.y - model.b[batch.partner], batch.query_y - model.b[batch.query]
    return vmap(outer)(x, y, batch.mask, query, query_y).mean()


class Nothing(nn.Module):
    """What is known of entities where nothing is."""

    def forward(self, rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), 0)


def content(model: GradientModel) -> Content:
    """A copy of the suite's model in the words of this file."""
    own = copy.deepcopy(model)
    return Content(Network(tuple(own.theta)), own.encoder, getattr(own, "entity", Nothing()), own.b)


def shown(model: GradientModel, support: Support, query: Tensor, query_rating: Tensor) -> Batch:
    """Tasks as the references read them: residuals of the bias model."""
    bias = model.bias
    own = bias.entity(support)
    y = bias.residual(support) - own
    widest = int(support.mask.sum(1).max())
    rows = (support.partner[:, :widest], y[:, :widest], support.mask[:, :widest])
    return Batch(support.entity, *rows, query, query_rating - bias.predict(own, query))


def batch(model: GradientModel, episode: Episode) -> Batch:
    return shown(model, episode.support, episode.query_partner, episode.query_rating)


def forms(method: GradientMethod, model: GradientModel) -> dict[str, tuple[Callable[[Episode], Tensor], list[nn.Parameter]]]:
    """Each form's loss and what it trains; every one has a copy of the same start."""
    rate = method.rating_inner_rate
    found = {}
    for name, loss in (("loop", loop_loss), ("vmap", vmap_loss)):
        own = content(model)
        found[name] = (lambda episode, own=own, loss=loss: loss(own, batch(model, episode), rate), own.parameters())
    rule = method.rule(model)
    found["suite"] = (lambda episode: method.loss(model, rule, episode), list(model.parameters()))
    return found
