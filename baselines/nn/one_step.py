"""One inner step and the answer to the query as one function with its gradient written by hand.

The network of `baselines.nn.inner_loop` with two hidden layers and a squared inner loss, adapted once:

    p = x W1 + o,  a = relu(p),  q = a W2 + b,  h = relu(q),  f = h w + c            on the support
    D3 = (f - y) mask,  D2 = (D3 w') [q > 0],  D1 = (D2 W2') [p > 0]                 its gradient's deltas
    W1 - r x'D1,  o - s sum D1,  W2 - r a'D2,  b - r sum D2,  w - r h'D3,  c - r sum D3   on the query

with rates r of all weights and s [T] of the first offset o [T, 1, h1], and W1 moved in the dual. The
gradient is of second order: it passes back through the query, the step, the deltas, and the support.
Written out it needs a third of the operations that automatic differentiation of the same formulas
does; `tests/baselines/test_maml_forms.py` holds it to them in float64.

Rows x are rows of one table Z of the batch's partners, and many are the same: Z W1 is one product of the table,
rows are gathered from it, and the gradient of the first layer is summed by partner before it is
multiplied. Each partner also has an offset beta, which f of its rows is raised by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from baselines.nn.chunks import by_length, once
from baselines.nn.gradient_model import GradientMethod, GradientModel
from baselines.nn.inner_loop import Weights
from baselines.nn.meta_training import squared_error
from benchmark.protocol.tasks import Episode


@dataclass(frozen=True, eq=False)
class Run:
    """Tasks of like support length; nothing here is differentiated."""

    shown: Tensor  # [t, K] int64 partners of the support, any where masked
    y: Tensor  # [t, K] what h w + c + beta should be
    mask: Tensor  # [t, K] of zeros and ones
    asked: Tensor  # [t, Q] int64 partners of the query

    def partners(self) -> tuple[Tensor, Tensor]:
        return self.shown.flatten(), self.asked.flatten()


class OneStep(torch.autograd.Function):
    """f of the query of T tasks, which `runs` hold in order: [T, Q]."""

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,  # [n_partners, d] Z
        beta: Tensor,  # [n_partners]
        w1: Tensor,  # [d, h1]
        o: Tensor,  # [T, 1, h1]
        w2: Tensor,  # [h1, h2]
        b: Tensor,  # [1, h2]
        w: Tensor,  # [h2, 1]
        c: Tensor,  # [1, 1]
        r: float,
        s: Tensor,  # [T]
        runs: Sequence[Run],
    ) -> Tensor:
        place = torch.cat([rows for run in runs for rows in run.partners()])
        first, rows, offset = (one.index_select(0, place) for one in (table @ w1, table, beta))
        kept, found, at, task = [], [], 0, 0
        for run in runs:
            t, k, q = *run.shown.shape, run.asked.shape[1]
            (x, z), (p, p_), (beta_x, beta_z) = (cut(one, at, t, k, q) for one in (rows, first, offset))
            s_, o_ = s[task : task + t, None, None], o[task : task + t]
            at, task = at + t * (k + q), task + t
            a = torch.relu_(p.add_(o_))
            h = torch.relu_(torch.addmm(b[0], a.flatten(0, 1), w2).view(t, k, -1))
            d3 = ((h @ w + c).squeeze(2) + beta_x).sub_(run.y).mul_(run.mask)[:, :, None]
            d2 = through_relu(d3 @ w.T, h)
            d1 = through_relu(d2 @ w2.T, a)
            met = z @ x.mT  # [t, Q, K]
            sum1 = d1.sum(1, keepdim=True)
            w2_ = torch.baddbmm(w2.expand(t, -1, -1), a.mT, d2, alpha=-r)
            w_ = torch.baddbmm(w.expand(t, -1, -1), h.mT, d3, alpha=-r)
            a_ = torch.relu_(p_.add_(o_ - s_ * sum1).baddbmm_(met, d1, alpha=-r))
            h_ = torch.relu_((a_ @ w2_).add_(b - r * d2.sum(1, keepdim=True)))
            found.append((h_ @ w_ + (c - r * d3.sum(1, keepdim=True))).squeeze(2).add_(beta_z))
            kept += [a, h, d3, d2, d1, met, sum1, w2_, w_, a_, h_]
        ctx.r, ctx.runs = r, runs
        ctx.save_for_backward(table, w1, w2, w, s, place, rows, *kept)
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        table, w1, w2, w, s, place, rows, *kept = ctx.saved_tensors
        r, at, task = ctx.r, 0, 0
        # By row: what goes to Z W1, to Z through the products of query and support, and to beta.
        to_first, to_rows, to_beta = rows.new_empty(len(rows), w1.shape[1]), torch.empty_like(rows), rows.new_empty(len(rows))
        to_o, to_s = [], []
        to_w2, to_b, to_w, to_c = torch.zeros_like(w2), w2.new_zeros(1, w2.shape[1]), torch.zeros_like(w), w.new_zeros(1, 1)
        for number, run in enumerate(ctx.runs):
            a, h, d3, d2, d1, met, sum1, w2_, w_, a_, h_ = kept[11 * number : 11 * (number + 1)]
            t, k, q = *run.shown.shape, run.asked.shape[1]
            (x, z), (to_p, to_p_), (to_x, to_z), (to_beta_x, to_beta_z) = (
                cut(one, at, t, k, q) for one in (rows, to_first, to_rows, to_beta)
            )
            s_, g = s[task : task + t, None, None], grad[task : task + t, :, None]
            at, task = at + t * (k + q), task + t
            # Through the query.
            to_w_, to_c_ = h_.mT @ g, g.sum(1, keepdim=True)
            e2 = through_relu(g @ w_.mT, h_)
            to_w2_, to_b_ = a_.mT @ e2, e2.sum(1, keepdim=True)
            e1 = through_relu(e2 @ w2_.mT, a_)
            to_o_ = e1.sum(1, keepdim=True)
            to_met = torch.bmm(e1, d1.mT).mul_(-r)
            # Through the step, to the deltas and the activations that made it.
            to_d1 = through_relu(torch.baddbmm(-s_ * to_o_, met.mT, e1, alpha=-r), a)
            to_d2 = through_relu((to_d1 @ w2).sub_(to_b_, alpha=r).baddbmm_(a, to_w2_, alpha=-r), h)
            to_d3 = (to_d2 @ w).sub_(to_c_, alpha=r).baddbmm_(h, to_w_, alpha=-r)
            to_f = to_d3 * run.mask[:, :, None]
            # Through the support, last layer first.
            to_h = through_relu((to_f @ w.T).baddbmm_(d3, to_w_.mT, alpha=-r), h)
            to_a = through_relu((to_h @ w2.T).baddbmm_(d2, to_w2_.mT, alpha=-r), a)
            to_w.add_(to_w_.sum(0)).add_(flat(h, to_f)).add_(flat(to_d2, d3))
            to_w2.add_(to_w2_.sum(0)).add_(flat(a, to_h)).add_(flat(to_d1, d2))
            to_b += to_b_.sum(0) + to_h.sum((0, 1))
            to_c += to_c_.sum(0) + to_f.sum((0, 1))
            to_o.append(to_o_ + to_a.sum(1, keepdim=True))
            to_s.append(-(to_o_ * sum1).sum((1, 2)))
            to_p.copy_(to_a), to_p_.copy_(e1)
            torch.bmm(to_met.mT, z, out=to_x), torch.bmm(to_met, x, out=to_z)
            to_beta_x.copy_(to_f.squeeze(2)), to_beta_z.copy_(g.squeeze(2))
        to_first = by_partner(to_first, place, len(table))
        to_table = by_partner(to_rows, place, len(table)).addmm_(to_first, w1.T)
        to_beta = rows.new_zeros(len(table)).index_add_(0, place, to_beta)
        return to_table, to_beta, table.T @ to_first, torch.cat(to_o), to_w2, to_b, to_w, to_c, None, torch.cat(to_s), None


def cut(rows: Tensor, at: int, t: int, k: int, q: int) -> tuple[Tensor, Tensor]:
    """The rows of one run, as support [t, K, ...] and query [t, Q, ...]; views."""
    end = at + t * k
    return rows[at:end].view(t, k, *rows.shape[1:]), rows[end : end + t * q].view(t, q, *rows.shape[1:])


def by_partner(rows: Tensor, place: Tensor, n: int) -> Tensor:
    """The sum of the rows [N, d] of each partner: [n, d]; in one order, so that it is the same every time."""
    found: Tensor = torch.ops.aten.embedding_dense_backward(rows, place, n, -1, False)
    return found


def through_relu(grad: Tensor, out: Tensor) -> Tensor:
    """grad where relu gave more than 0, in one pass over memory."""
    found: Tensor = torch.ops.aten.threshold_backward(grad, out, 0)
    return found


def flat(left: Tensor, right: Tensor) -> Tensor:
    """sum over tasks and rows of left' right: [d, h] from [T, K, d] and [T, K, h], in one product."""
    return left.flatten(0, 1).T @ right.flatten(0, 1)


def over_partner(theta: Weights, own: Tensor, rate: float) -> tuple[Weights, Tensor]:
    """The weights over the partner's fields alone, given the entity's `own` [T, width], and the rate [T] of their offset.

    x_e is the same in every row, so its weights act as an offset, and their step is x_e . x_e times the offset's.
    """
    width = len(theta[0]) - own.shape[1]
    offset = theta[1] + own[:, None] @ theta[0][width:]
    return (theta[0][:width], offset, *theta[2:]), rate * (1 + own.square().sum(1))


def writes_by_hand(method: GradientMethod, model: GradientModel) -> bool:
    """Whether `one_step_loss` is the outer loss of a second-order method that moves every layer at one rate."""
    return model.world.goal == "rating" and method.inner_steps == 1 and len(method.hidden) == 2


def one_step_loss(model: GradientModel, episode: Episode, rate: float) -> Tensor:
    """`outer_loss` of the episode after one inner step at goal `rating`, in runs of like support length."""
    episode, parts = by_length(episode)
    support, asked = episode.support, episode.query_partner
    entity = model.bias.entity(support)
    left = model.bias.residual(support) - entity
    partner, place = once(torch.cat([support.partner, asked], 1), model.world.n_partners)
    shown, asked_place = place[:, : left.shape[1]], place[:, left.shape[1] :]
    mask, runs, at = support.mask.to(left.dtype), [], 0
    for part in parts:
        tasks, k = slice(at, at + len(part.support)), part.support.partner.shape[1]
        runs.append(Run(shown[tasks, :k], left[tasks, :k], mask[tasks, :k], asked_place[tasks]))
        at += len(part.support)
    theta, own_rate = over_partner(tuple(model.theta), model.entities(support.entity), rate)
    near: Tensor = OneStep.apply(model.encoder(partner), model.b.index_select(0, partner), *theta, rate, own_rate, runs)
    return squared_error(model.bias.predict(entity, asked) + near, episode)
