"""The outer loop that episodic methods share: sample tasks, step, stop by validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.contract import Learner, World, fits, halved
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to meta-train."""

    steps: int
    tasks_per_step: int  # but no more than a third of the warm entities: a batch of repeats teaches nothing new
    learning_rate: float
    evaluate_every: int
    patience: int  # evaluations without a better one before stopping
    weight_decay: float = 0.0


HUGE = 1e15  # no score of weights beyond this is a number for long


class Watch:
    """Notices where numbers stop being finite, without making the loop wait for the device."""

    def __init__(self, parameters: Sequence[Tensor], learning_rate: float) -> None:
        self._parameters, self._rate = parameters, learning_rate
        self._first = torch.full((), math.inf, device=parameters[0].device)

    def saw(self, loss: Tensor, step: int) -> None:
        """Takes note of one step's loss."""
        self._first = torch.where(loss.detach().isfinite(), self._first, self._first.clamp(max=step))

    def check(self, step: int) -> None:
        """Raises FloatingPointError, naming the first bad step and the rate, if a loss or a weight was not finite up to `step`."""
        first, what = float(self._first), "loss"
        if first == math.inf and not bool(torch.stack([(one.abs() < HUGE).all() for one in self._parameters]).all()):
            first, what = float(step), "weights"
        if first < math.inf:
            raise FloatingPointError(
                f"training broke down, its {what} not finite at step {first:.0f} with learning rate {self._rate:g}; try a smaller one"
            )


Counted = Callable[[Episode], Tensor]


class Descent:
    """The gradient of a batch's loss, in parts where the device's memory is too small for it whole."""

    def __init__(self, loss: Callable[[Episode], Tensor], counted: Counted | None) -> None:
        self._loss, self._counted, self._at_once = loss, counted, math.inf

    def backward(self, episode: Episode, optimiser: torch.optim.Optimizer) -> Tensor:
        """Leaves the gradient of the mean over all tasks of the episode in the parameters; returns the loss."""
        n, found = len(episode.support), list[Tensor]()
        while True:
            at_once = int(min(n, self._at_once))
            optimiser.zero_grad()
            if fits(lambda at_once=at_once: found.append(self._in_parts(episode, at_once))):
                return found[0]
            if self._counted is None or at_once == 1:
                whose = (
                    "the method does not say that its loss is a mean over tasks, so it is not taken in parts"
                    if at_once > 1
                    else "one is the least"
                )
                raise torch.OutOfMemoryError(
                    f"out of device memory with {at_once:,} training tasks at once: {whose}; set a smaller tasks_per_step or model"
                )
            self._at_once = halved(at_once)

    def _in_parts(self, episode: Episode, at_once: int) -> Tensor:
        if at_once == len(episode.support):
            value = self._loss(episode)
            value.backward()
            return value.detach()
        total, whole = [], self._counted(episode).clamp(min=1)
        for start in range(0, len(episode.support), at_once):
            part = episode[start : start + at_once]
            value = self._loss(part) * self._counted(part) / whole
            value.backward()
            total.append(value.detach())
        return torch.stack(total).sum()


def meta_train(
    parameters: Iterable[Tensor],
    sampler: TaskSampler,
    loss: Callable[[Episode], Tensor],
    learner: Callable[[], Learner],
    validate: Callable[[Learner], float],
    schedule: Schedule,
    counted: Counted | None = None,
) -> Learner:
    """Adam on `loss` over sampled tasks; returns the learner that validation liked best.

    `learner` makes a learner of the weights as they are, a copy. `counted` says of how many tasks of an episode
    `loss` is the mean, where it is one: then a batch too large for the device is taken in parts. Raises
    FloatingPointError, naming the step and the rate, where a loss or a weight is not finite.
    """
    parameters = list(parameters)
    n_tasks = max(1, min(schedule.tasks_per_step, sampler.n_able // 3))
    optimiser = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    best, best_score, since = learner(), -math.inf, 0
    watch, descent = Watch(parameters, schedule.learning_rate), Descent(loss, counted)
    for step in range(1, schedule.steps + 1):
        value = descent.backward(sampler.sample(n_tasks), optimiser)
        optimiser.step()
        watch.saw(value, step)
        if step % schedule.evaluate_every and step != schedule.steps:
            continue
        watch.check(step)
        one = learner()
        score = validate(one)
        best, best_score, since = (one, score, 0) if score > best_score else (best, best_score, since + 1)
        if since >= schedule.patience:
            break
    return best


def catalogue_softmax(scores: Tensor, episode: Episode, world: World) -> Tensor:
    """Mean over tasks of -log p(liked query partner), p a softmax over all candidates [T, n_partners].

    The pool is no candidate, as in a test, nor is a partner that training does not rank. Tasks without a liked query row count nothing.
    """
    liked = (episode.query_mask & (episode.query_rating >= world.relevant_from)).float()
    log_p: Tensor = _LogSoftmaxAt.apply(scores, episode.pool, world.partner_is_ranked, episode.query_partner)
    log_p = torch.where(liked > 0, log_p, 0.0)
    return -(log_p.sum(1) / liked.sum(1).clamp(min=1)).sum() / (liked.sum(1) > 0).sum().clamp(min=1)


class _LogSoftmaxAt(torch.autograd.Function):
    """log p of the partners asked for [T, Q], p a softmax of scores [T, n_partners] over those neither in `pool` [T, K] nor unranked.

    Its gradient, asked' d log p = d (asked at their places) - p sum(d), reuses the exponentials of the forward pass:
    half of the passes over [T, n_partners] that automatic differentiation makes, which are most of a training step.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, pool: Tensor, ranked: Tensor, asked: Tensor) -> Tensor:
        scores = scores.scatter(1, pool, -torch.inf).masked_fill_(~ranked, -torch.inf)
        top = scores.amax(1, keepdim=True)
        of_asked = scores.gather(1, asked)
        share = scores.sub_(top).exp_()
        total = share.sum(1, keepdim=True)
        ctx.save_for_backward(share, total, asked)
        return of_asked - (total.log() + top)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        share, total, asked = ctx.saved_tensors
        return (share * (-grad.sum(1, keepdim=True) / total)).scatter_add_(1, asked, grad), None, None, None


class Negatives:
    """Candidates drawn for a step, for methods that cannot afford to score the catalogue in training.

    Drawn with replacement in proportion to (ratings + 1)^0.75; each score is lowered by the log of
    its expected count, which makes the sampled softmax consistent with the whole one (Yoshua Bengio
    and Jean-Sebastien Senecal 2008, Adaptive Importance Sampling to Accelerate Training of a Neural
    Probabilistic Language Model).
    """

    def __init__(self, world: World, n: int, seed: int) -> None:
        counts = torch.bincount(world.ratings.partner, minlength=world.n_partners).float()
        self._share = (counts + 1).pow(0.75) * world.partner_is_ranked
        self._log_expected = (self._share / self._share.sum() * n).log()
        self._generator = torch.Generator(world.device).manual_seed(seed)
        self._world, self._n = world, n

    def draw(self) -> Tensor:
        """The step's candidates: [n] int64."""
        return torch.multinomial(self._share, self._n, replacement=True, generator=self._generator)

    def softmax(self, drawn: Tensor, of_drawn: Tensor, of_query: Tensor, episode: Episode) -> Tensor:
        """`catalogue_softmax` from scores [T, n] of the drawn partners and [T, Q] of the query's."""
        liked = (episode.query_mask & (episode.query_rating >= self._world.relevant_from)).float()
        withheld = torch.zeros(len(of_drawn), self._world.n_partners, dtype=torch.bool, device=drawn.device)
        withheld.scatter_(1, episode.pool, True)
        others = (of_drawn - self._log_expected[drawn]).masked_fill(withheld[:, drawn], -torch.inf)
        log_p = of_query - torch.logaddexp(others.logsumexp(1, keepdim=True), of_query)
        total = (torch.where(liked > 0, log_p, 0.0).sum(1) / liked.sum(1).clamp(min=1)).sum()
        return -total / (liked.sum(1) > 0).sum().clamp(min=1)


def n_counted(episode: Episode, world: World) -> Tensor:
    """Of how many tasks `catalogue_softmax`, at `ranking`, or `squared_error` is the mean: []."""
    if world.goal == "rating":
        return torch.full((), len(episode.support), device=world.device)
    return (episode.query_mask & (episode.query_rating >= world.relevant_from)).any(1).sum()


def counted(world: World, drawn: bool = False) -> Counted | None:
    """For `meta_train`, where a method's loss is one of these alone; None at `ranking` with candidates `drawn` for a step."""
    return None if drawn and world.goal == "ranking" else lambda episode: n_counted(episode, world)


def squared_error(predicted: Tensor, episode: Episode) -> Tensor:
    """Mean over tasks of the mean squared error over the query [T, Q]."""
    gap = (predicted - episode.query_rating).square() * episode.query_mask
    return (gap.sum(1) / episode.query_mask.sum(1).clamp(min=1)).mean()


def log_popularity(world: World) -> Tensor:
    """log of each partner's share of relevant warm rows, smoothed: [n_partners]; where ranking starts."""
    liked = world.ratings.partner[world.ratings.rating >= world.relevant_from]
    counts = torch.bincount(liked, minlength=world.n_partners).float() + 0.5
    return (counts / counts.sum()).log()
