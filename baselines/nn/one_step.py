"""One inner step and the answer to the query as one function with its gradient written by hand.

The network of `baselines.nn.inner_loop` with two hidden layers and a squared inner loss, adapted once:

    p = x W1 + o,  a = relu(p),  q = a W2 + b,  h = relu(q),  f = h w + c            on the support
    D3 = (f - y) mask,  D2 = (D3 w') [q > 0],  D1 = (D2 W2') [p > 0]                 its gradient's deltas
    W1 - r x'D1,  o - s sum D1,  W2 - r a'D2,  b - r sum D2,  w - r h'D3,  c - r sum D3   on the query

with rates r of all weights and s [T] of the first offset o [T, 1, h1], and W1 moved in the dual. The
gradient is of second order: it passes back through the query, the step, the deltas, and the support.
Written out it needs a third of the operations that automatic differentiation of the same formulas
does; `tests/baselines/test_maml_forms.py` holds it to them in float64.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class OneStep(torch.autograd.Function):
    """f of the query, [T, Q]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # [T, K, d] support, rows of any content where masked
        y: Tensor,  # [T, K] targets
        mask: Tensor,  # [T, K] of zeros and ones
        z: Tensor,  # [T, Q, d] query
        w1: Tensor,  # [d, h1]
        o: Tensor,  # [T, 1, h1]
        w2: Tensor,  # [h1, h2]
        b: Tensor,  # [1, h2]
        w: Tensor,  # [h2, 1]
        c: Tensor,  # [1, 1]
        r: float,
        s: Tensor,  # [T]
    ) -> Tensor:
        a = torch.relu_((x @ w1).add_(o))
        h = torch.relu_(torch.addmm(b[0], a.flatten(0, 1), w2).view(*a.shape[:2], -1))
        d3 = ((h @ w + c).squeeze(2) - y).mul_(mask)[:, :, None]
        d2 = through_relu(d3 @ w.T, h)
        d1 = through_relu(d2 @ w2.T, a)
        met = z @ x.mT  # [T, Q, K]
        sum1 = d1.sum(1, keepdim=True)
        w2_ = torch.baddbmm(w2.expand(len(x), -1, -1), a.mT, d2, alpha=-r)
        w_ = torch.baddbmm(w.expand(len(x), -1, -1), h.mT, d3, alpha=-r)
        a_ = torch.relu_((z @ w1).add_(o - s[:, None, None] * sum1).baddbmm_(met, d1, alpha=-r))
        h_ = torch.relu_((a_ @ w2_).add_(b - r * d2.sum(1, keepdim=True)))
        f_ = (h_ @ w_ + (c - r * d3.sum(1, keepdim=True))).squeeze(2)
        ctx.r = r
        ctx.save_for_backward(x, mask, z, w1, w2, w, s, a, h, d3, d2, d1, met, sum1, w2_, w_, a_, h_)
        return f_

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mask, z, w1, w2, w, s, a, h, d3, d2, d1, met, sum1, w2_, w_, a_, h_ = ctx.saved_tensors
        r, g = ctx.r, grad[:, :, None]
        # Through the query.
        to_w_, to_c_ = h_.mT @ g, g.sum(1, keepdim=True)
        e2 = through_relu(g @ w_.mT, h_)
        to_w2_, to_b_ = a_.mT @ e2, e2.sum(1, keepdim=True)
        e1 = through_relu(e2 @ w2_.mT, a_)
        to_o_ = e1.sum(1, keepdim=True)
        to_met = torch.bmm(e1, d1.mT).mul_(-r)
        # Through the step, to the deltas and the activations that made it.
        to_d1 = through_relu(torch.baddbmm(-s[:, None, None] * to_o_, met.mT, e1, alpha=-r), a)
        to_d2 = through_relu((to_d1 @ w2).sub_(to_b_, alpha=r).baddbmm_(a, to_w2_, alpha=-r), h)
        to_d3 = (to_d2 @ w).sub_(to_c_, alpha=r).baddbmm_(h, to_w_, alpha=-r)
        to_f = to_d3 * mask[:, :, None]
        # Through the support, last layer first.
        to_h = through_relu((to_f @ w.T).baddbmm_(d3, to_w_.mT, alpha=-r), h)
        to_a = through_relu((to_h @ w2.T).baddbmm_(d2, to_w2_.mT, alpha=-r), a)
        to_w = to_w_.sum(0) + flat(h, to_f) + flat(to_d2, d3)
        to_w2 = to_w2_.sum(0) + flat(a, to_h) + flat(to_d1, d2)
        to_w1 = flat(z, e1) + flat(x, to_a)
        to_z = (e1 @ w1.T).baddbmm_(to_met, x)
        to_x = (to_a @ w1.T).baddbmm_(to_met.mT, z)
        to_b = to_b_.sum(0) + to_h.sum((0, 1))[None]
        to_c = to_c_.sum(0) + to_f.sum((0, 1))[None]
        to_s = -(to_o_ * sum1).sum((1, 2))
        return to_x, -to_f.squeeze(2), None, to_z, to_w1, to_o_ + to_a.sum(1, keepdim=True), to_w2, to_b, to_w, to_c, None, to_s


def through_relu(grad: Tensor, out: Tensor) -> Tensor:
    """grad where relu gave more than 0, in one pass over memory."""
    found: Tensor = torch.ops.aten.threshold_backward(grad, out, 0)
    return found


def flat(left: Tensor, right: Tensor) -> Tensor:
    """sum over tasks and rows of left' right: [d, h] from [T, K, d] and [T, K, h], in one product."""
    return left.flatten(0, 1).T @ right.flatten(0, 1)
