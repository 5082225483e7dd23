"""Second-order MAML over content, two ways that are easy to read: the loop of public code, and a plain vmap.

The model is MeLU's: fields of partner and entity side by side, two hidden layers, one inner step on
all of them, squared errors of the residual inside and outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


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
    theta = dict(model.network.named_parameters())
    for t in range(len(batch.y)):
        shown, asked = batch.partner[t, batch.mask[t]], batch.query[t]
        own = model.entity(batch.entity[t : t + 1])
        x, x_asked = (torch.cat([model.partner(rows), own.expand(len(rows), -1)], 1) for rows in (shown, asked))
        f = functional_call(model.network, theta, x) + model.b[shown]
        inner = (f - batch.y[t, batch.mask[t]]).square().sum() / 2
        steps = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
        phi = {name: w - rate * g for (name, w), g in zip(theta.items(), steps, strict=True)}
        predicted = functional_call(model.network, phi, x_asked) + model.b[asked]
        total = total + (predicted - batch.query_y[t]).square().mean()
    return total / len(batch.y)


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
