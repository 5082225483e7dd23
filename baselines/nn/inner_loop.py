"""The inner loop of every gradient method: parameters in, parameters out, nothing remembered.

The adapted network is a ReLU multi-layer perceptron over a partner's vector,

    a_0 = x,   a_l = relu(a_{l-1} W_l + b_l),   f = a_L w + c

with weights (W_1, b_1, ..., w, c), shared ([d, h], [1, h]) or one set a task ([T, d, h], [T, 1, h]).
Its gradient is written out (one backward sweep, differentiable itself), so that a step costs a few
batched products and the outer gradient passes through it without a second graph of the inner one.
With no hidden layer f = x w + c.

A gradient step on K rows changes W_1 by X' G, of rank K. Where K < d the wide matrices [T, d, h] are
never formed: G is kept (`Moved`), and the adapted layer meets inputs z as z W_1 - (z X') G, of
which z W_1 is one product for all tasks (the dual view of a linear layer under gradient descent).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moved:
    """A first layer after gradient steps on inputs x: w - x' g of each task."""

    w: Tensor  # [d, h], shared
    x: Tensor  # [T, K, d]
    g: Tensor  # [T, K, h], the sum over steps of rate * d L / d (x W)

    def whole(self) -> Tensor:
        """[T, d, h]."""
        return self.w - self.x.mT @ self.g


Weights = tuple[Tensor, ...]
Adapted = tuple[Tensor | Moved, ...]  # only the first may be Moved


def initial(sizes: Sequence[int], generator: torch.Generator, scale: float) -> Weights:
    """Weights for layers of these sizes, input first; the last layer, to one number, is drawn with `scale`."""
    weights: list[Tensor] = []
    for before, after in pairwise(sizes):
        weights += [torch.randn(before, after, generator=generator) * (2 / before) ** 0.5, torch.zeros(1, after)]
    weights += [torch.randn(sizes[-1], 1, generator=generator) * scale, torch.zeros(1, 1)]
    return tuple(weights)


def forward(weights: Weights | Adapted, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """f [T, N] and the activations a_0 .. a_L, for inputs x [T, N, d], or [N, d] shared by all tasks."""
    activations = body(weights[:-2], x)
    f = _product(activations[-1], weights[-2]) + weights[-1]
    return f.squeeze(-1), activations


def body(weights: Weights | Adapted, x: Tensor) -> list[Tensor]:
    """The activations a_0 .. a_L of hidden layers (W_1, b_1, ...); no layer leaves a_0 = x alone."""
    activations = [x]
    for w, b in zip(weights[::2], weights[1::2], strict=True):
        activations.append((_product(activations[-1], w) + b).relu())
    return activations


def _product(x: Tensor, w: Tensor | Moved) -> Tensor:
    """x W; inputs that all tasks share meet their T weights in one product instead of T small ones."""
    if isinstance(w, Moved):
        return x @ w.w - (x @ w.x.mT) @ w.g
    if x.dim() == 3 or w.dim() == 2:
        return x @ w
    tasks, d, h = w.shape
    return (x @ w.permute(1, 0, 2).reshape(d, tasks * h)).view(len(x), tasks, h).transpose(0, 1)


def deltas(weights: Weights, activations: list[Tensor], wrong: Tensor) -> list[Tensor]:
    """d L / d (a_{l-1} W_l + b_l) of each layer, first to last, given wrong = d L / d f [T, K].

    `weights` and `activations` may begin at a later layer: what is below it is not asked for.
    """
    delta = wrong[:, :, None]
    found = [delta]
    for layer in range(len(weights) - 2, 1, -2):
        delta = (delta @ weights[layer].mT) * (activations[layer // 2] > 0)
        found = [delta, *found]
    return found


def descend(
    weights: Weights,
    x: Tensor,
    wrong: Callable[[Tensor], Tensor],
    rates: Sequence[Tensor | float],
    steps: int,
    second_order: bool = True,
) -> Adapted:
    """`steps` of gradient descent on each task's support x [T, K, d]: a set of weights a task.

    `wrong` gives d L / d f [T, K] from f [T, K], zero where masked. `rates` holds one rate a weight
    tensor: a number, or a tensor of its shape (Meta-SGD); 0.0 leaves it as it is and shared (ANIL).
    Without `second_order` the inner gradient is taken as a constant by the outer one. The first
    layer comes back as `Moved` where that is the smaller form.
    """
    first, rest = weights[0], weights[1:]
    fixed_rate = isinstance(rates[0], float) and rates[0] != 0.0
    dual = len(weights) > 2 and first.dim() == 2 and x.shape[1] < x.shape[2] and fixed_rate
    kept = x if second_order else x.detach()  # the step's own inputs are a constant of it at first order
    moved = Moved(first, kept, x.new_zeros(*x.shape[:2], first.shape[-1])) if dual else None
    at_start = x @ first if dual else None
    gram = x @ kept.mT if dual and steps > 1 else None
    for step in range(steps):
        if moved is not None:
            above = at_start - gram @ moved.g if step else at_start
            f, activations = forward(rest[1:], (above + rest[0]).relu())
            activations = [x, *activations]
        else:
            f, activations = forward((first, *rest), x)
        delta = deltas((first, *rest), activations, wrong(f))
        delta = delta if second_order else [one.detach() for one in delta]
        if moved is not None:
            moved = Moved(first, kept, moved.g + rates[0] * delta[0])
        new = []
        for place, (w, rate) in enumerate(zip((first, *rest), rates, strict=True)):
            if (isinstance(rate, float) and rate == 0.0) or (place == 0 and moved is not None):
                new.append(w)
            else:
                one = delta[place // 2]
                step_of_w = one.sum(1, keepdim=True) if place % 2 else activations[place // 2].mT @ one
                new.append(w - rate * (step_of_w if second_order else step_of_w.detach()))
        first, *rest = new
    if steps == 0:  # no step, but weights of each task's own all the same
        return tuple(
            w if isinstance(rate, float) and rate == 0.0 else w.expand(len(x), *w.shape[-2:])
            for w, rate in zip((first, *rest), rates, strict=True)
        )
    return (first if moved is None else moved, *rest)


def whole(weights: Adapted) -> Weights:
    """Every layer as a tensor."""
    return tuple(w.whole() if isinstance(w, Moved) else w for w in weights)
