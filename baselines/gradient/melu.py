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

from baselines.nn.chunks import by_length
from baselines.nn.features import FieldEncoder
from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel, Snapshot
from baselines.nn.inner_loop import Adapted, Weights, descend
from baselines.nn.meta_training import squared_error
from baselines.nn.one_step import OneStep
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
        one = model.now(episode.support.entity)
        place = torch.arange(len(episode.support), device=one.b.device)
        episode = replace(episode, support=replace(episode.support, entity=place))
        parts = by_length(episode, max(2, min(MOST_RUNS, len(place) // TASKS_A_RUN)))
        if model.world.goal == "rating" and self.inner_steps == 1 and len(self.hidden) == 2:
            losses = one_step_losses(model, one, parts, self.rate(model.world))
        else:
            losses = [model.outer_loss(one, rule(one, part.support), part) for part in parts]
        return torch.stack([len(part.support) * loss for part, loss in zip(parts, losses, strict=True)]).sum() / len(place)

    def rule(self, model: GradientModel) -> Adapt:
        rate = self.rate(model.world)

        def adapt(one: Snapshot, support: Support) -> Adapted:
            theta, own_rate = over_partner(one, support, rate)
            z = functional.embedding(support.partner, one.z)
            rates = [rate, own_rate[:, None, None], *[rate] * (len(theta) - 2)]
            return descend(theta, z, model.wrong(one, support), rates, self.inner_steps)

        return adapt


def over_partner(one: Snapshot, support: Support, rate: float) -> tuple[Weights, Tensor]:
    """The weights over the partner's fields alone, and the rate [T] of their offset.

    x_e is the same in every row, so its weights act as an offset, and their step is x_e . x_e times the offset's.
    """
    own, width = one.y[support.entity], one.z.shape[1]
    theta = (one.theta[0][:width], one.theta[1] + own[:, None] @ one.theta[0][width:], *one.theta[2:])
    return theta, rate * (1 + own.square().sum(1))


def one_step_losses(model: GradientModel, one: Snapshot, parts: list[Episode], rate: float) -> list[Tensor]:
    """`outer_loss` of each part after one inner step at goal `rating`, by the gradient written by hand."""
    rows = [torch.cat([part.support.partner, part.query_partner], 1) for part in parts]
    everyone = torch.cat([one_part.flatten() for one_part in rows])
    sizes = [one_part.numel() for one_part in rows]
    # One gather for all parts: the gradient of each is a table as long as the catalogue.
    z, b = functional.embedding(everyone, one.z).split(sizes), functional.embedding(everyone, one.b[:, None]).split(sizes)
    losses = []
    for part, place, z_rows, b_rows in zip(parts, rows, z, b, strict=True):
        support, entity = part.support, model.bias.entity(part.support)
        shown = support.partner.shape[1]
        z_part, b_part = z_rows.view(*place.shape, -1), b_rows.view(place.shape)
        theta, own_rate = over_partner(one, support, rate)
        left = model.bias.residual(support) - entity - b_part[:, :shown]
        mask = support.mask.to(z_part.dtype)
        near: Tensor = OneStep.apply(z_part[:, :shown], left, mask, z_part[:, shown:], *theta, rate, own_rate)
        losses.append(squared_error(model.bias.predict(entity, part.query_partner) + near + b_part[:, shown:], part))
    return losses


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
