"""The inner loop of every gradient method: parameters in, parameters out, nothing remembered.

The adapted network is a ReLU multi-layer perceptron over a partner's vector,

    a_0 = x,   a_l = relu(a_{l-1} W_l + b_l),   f = a_L w + c

with weights (W_1, b_1, ..., w, c), shared ([d, h], [1, h]) or one set a task ([T, d, h], [T, 1, h]).
Its gradient is written out (one backward sweep, differentiable itself), so that a step costs a few
batched products and the outer gradient passes through it without a second graph of the inner one.
With no hidden layer f = x w + c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Weights = tuple[Tensor, ...]


def initial(sizes: Sequence[int], generator: torch.Generator, scale: float) -> Weights:
    """Weights for layers of these sizes, input first; the last layer, to one number, is drawn with `scale`."""
    weights: list[Tensor] = []
    for before, after in pairwise(sizes):
        weights += [torch.randn(before, after, generator=generator) * (2 / before) ** 0.5, torch.zeros(1, after)]
    weights += [torch.randn(sizes[-1], 1, generator=generator) * scale, torch.zeros(1, 1)]
    return tuple(weights)


def forward(weights: Weights, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """f [T, N] and the activations a_0 .. a_L, for inputs x [T, N, d], or [N, d] shared by all tasks."""
    activations = body(weights[:-2], x)
    f = _product(activations[-1], weights[-2]) + weights[-1]
    return f.squeeze(-1), activations


def body(weights: Weights, x: Tensor) -> list[Tensor]:
    """The activations a_0 .. a_L of hidden layers (W_1, b_1, ...); no layer leaves a_0 = x alone."""
    activations = [x]
    for w, b in zip(weights[::2], weights[1::2], strict=True):
        activations.append((_product(activations[-1], w) + b).relu())
    return activations


def _product(x: Tensor, w: Tensor) -> Tensor:
    """x W; inputs that all tasks share meet their T weights in one product instead of T small ones."""
    if x.dim() == 3 or w.dim() == 2:
        return x @ w
    tasks, d, h = w.shape
    return (x @ w.permute(1, 0, 2).reshape(d, tasks * h)).view(len(x), tasks, h).transpose(0, 1)


def gradient(weights: Weights, activations: list[Tensor], wrong: Tensor) -> Weights:
    """d L / d weights of each task, given wrong = d L / d f [T, K]: one set a task."""
    delta = wrong[:, :, None]
    found: list[Tensor] = []
    for layer in range(len(weights) - 2, -1, -2):
        a = activations[layer // 2]
        found = [a.mT @ delta, delta.sum(1, keepdim=True), *found]
        if layer:
            delta = (delta @ weights[layer].mT) * (a > 0)
    return tuple(found)


def descend(
    weights: Weights,
    x: Tensor,
    wrong: Callable[[Tensor], Tensor],
    rates: Sequence[Tensor | float],
    steps: int,
    second_order: bool = True,
) -> Weights:
    """`steps` of gradient descent on each task's support x [T, K, d]: a set of weights a task.

    `wrong` gives d L / d f [T, K] from f [T, K], zero where masked. `rates` holds one rate a weight
    tensor: a number, or a tensor of its shape (Meta-SGD); 0.0 leaves it as it is and shared (ANIL).
    Without `second_order` the inner gradient is taken as a constant by the outer one.
    """
    for _ in range(steps):
        f, activations = forward(weights, x)
        step = gradient(weights, activations, wrong(f))
        weights = tuple(
            w if isinstance(rate, float) and rate == 0.0 else w - rate * (g if second_order else g.detach())
            for w, g, rate in zip(weights, step, rates, strict=True)
        )
    return weights
