"""MeLU: a user-preference estimator on content, of which only the decision layers are adapted.

Each field of partner and entity (genres, decade, age, ...) has an embedding; all are laid side by
side and pass two hidden layers, the decision layers phi, to one number:

    x_ep = [fields of p; fields of e],   f(e, p) = decide(x_ep; phi_e) + b_p
    phi_e = theta - inner_rate * d/d theta L(theta, support), inner_steps times, of second order

Embeddings are shared and stay as they are within a task. No partner has an embedding of its own, so
two partners of the same content differ by b_p alone, which is slow and learned for all (the suite's
common base: the residual over the bias model, log popularity; the paper predicts the rating itself).
The paper's inner rate, 5e-6, moves no prediction visibly; this one does.

The entity's fields are the same in every row of a task, so their weights in the first layer, adapted
as all others, act as an offset of the entity's own, and the inner loop runs over the partner's alone. At zero shots phi is theta.

Hoyeop Lee, Jinbae Im, Seongwon Jang, Hyunsouk Cho and Sehee Chung (2019), MeLU: Meta-Learned User
Preference Estimator for Cold-Start Recommendation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from baselines.nn.chunks import by_length, once
from baselines.nn.features import FieldEncoder
from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel, Snapshot
from baselines.nn.inner_loop import Adapted, Weights, descend
from baselines.nn.meta_training import squared_error
from baselines.nn.one_step import OneStep, Run
from benchmark.contract import Support, World
from benchmark.protocol.tasks import Episode

TASKS_A_RUN, MOST_RUNS = 32, 8  # a training step is cut into runs of like support length: too short ones cost launches


@dataclass(frozen=True)
class MeLU(GradientMethod):
    hidden: tuple[int, ...] = (64, 64)
    inner_steps: int = 1
    steps: int = 150
    scale: float = 0.3
    negatives: int = 128
    tasks_per_step: int = 128
    learning_rate: float = 0.005
    evaluate_every: int = 75
    patience: int = 2

    def unsupported(self, world: World) -> str | None:
        return None if world.partner_features.width else "it reads content alone, and nothing is known of the partners"

    def model(self, world: World, seed: int) -> GradientModel:
        return _ContentModel(world, self, seed)

    def loss(self, model: GradientModel, rule: Adapt, episode: Episode) -> Tensor:
        # The fields of this batch's entities alone, whose ids are then their places in it.
        own = model.entities(episode.support.entity)
        place = torch.arange(len(own), device=own.device)
        episode = replace(episode, support=replace(episode.support, entity=place))
        episode, parts = by_length(episode, max(2, min(MOST_RUNS, len(own) // TASKS_A_RUN)))
        if model.world.goal == "rating" and self.inner_steps == 1 and len(self.hidden) == 2:
            return one_step_loss(model, own, episode, parts, self.rate(model.world))
        one = replace(model.now(place[:0]), y=own)
        losses = [model.outer_loss(one, rule(one, part.support), part) for part in parts]
        return torch.stack([len(part.support) * loss for part, loss in zip(parts, losses, strict=True)]).sum() / len(own)

    def rule(self, model: GradientModel) -> Adapt:
        rate = self.rate(model.world)

        def adapt(one: Snapshot, support: Support) -> Adapted:
            theta, own_rate = over_partner(one.theta, one.y[support.entity], rate)
            z = functional.embedding(support.partner, one.z)
            rates = [rate, own_rate[:, None, None], *[rate] * (len(theta) - 2)]
            return descend(theta, z, model.wrong(one, support), rates, self.inner_steps)

        return adapt


def over_partner(theta: Weights, own: Tensor, rate: float) -> tuple[Weights, Tensor]:
    """The weights over the partner's fields alone, given the entity's `own` [T, width], and the rate [T] of their offset.

    x_e is the same in every row, so its weights act as an offset, and their step is x_e . x_e times the offset's.
    """
    width = len(theta[0]) - own.shape[1]
    offset = theta[1] + own[:, None] @ theta[0][width:]
    return (theta[0][:width], offset, *theta[2:]), rate * (1 + own.square().sum(1))


def one_step_loss(model: GradientModel, own: Tensor, episode: Episode, parts: list[Episode], rate: float) -> Tensor:
    """`outer_loss` of the episode after one inner step at goal `rating`, by the gradient written by hand over its `parts`."""
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
    theta, own_rate = over_partner(tuple(model.theta), own[support.entity], rate)
    near: Tensor = OneStep.apply(model.encoder(partner), model.b.index_select(0, partner), *theta, rate, own_rate, runs)
    return squared_error(model.bias.predict(entity, asked) + near, episode)


class _ContentModel(GradientModel):
    def __init__(self, world: World, method: MeLU, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        partner = FieldEncoder(world.partner_features, method.width, method.scale, generator)
        entity = FieldEncoder(world.entity_features, method.width, method.scale, generator)
        super().__init__(world, method, seed, partner, partner.width + entity.width)
        self.entity = entity

    def entities(self, entity: Tensor | None = None) -> Tensor:
        """The fields of every entity, or of those named: [N, width]."""
        y: Tensor = self.entity(entity)
        return y
