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
from baselines.nn.features import FieldEncoder, alike
from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel, Snapshot
from baselines.nn.inner_loop import Adapted, descend
from baselines.nn.meta_training import n_counted
from baselines.nn.one_step import one_step_loss, over_partner, writes_by_hand
from benchmark.contract import Support, World, searched
from benchmark.protocol.tasks import Episode


@dataclass(frozen=True)
class MeLU(GradientMethod):
    hidden: tuple[int, ...] = (64, 64)
    inner_steps: int = 1
    steps: int = 150
    scale: float = searched(0.3, 0.03, 1.0, log=True)
    negatives: int = 128
    tasks_per_step: int = 128
    learning_rate: float = searched(0.005, 0.001, 0.05, log=True)
    evaluate_every: int = 75
    patience: int = 2

    def unsupported(self, world: World) -> str | None:
        known = world.partner_features.width or world.entity_features.width
        return None if known else "it reads content alone, and nothing is known of the partners"

    def model(self, world: World, seed: int) -> GradientModel:
        return _ContentModel(world, self, seed)

    def loss(self, model: GradientModel, rule: Adapt, episode: Episode) -> Tensor:
        if writes_by_hand(self, model):
            return one_step_loss(model, episode, self.rate(model.world))
        # The fields of this batch's entities alone, whose ids are then their places in it.
        own = model.entities(episode.support.entity)
        place = torch.arange(len(own), device=own.device)
        one = replace(model.now(place[:0]), y=own)
        _, parts = by_length(replace(episode, support=replace(episode.support, entity=place)))
        losses = [model.outer_loss(one, rule(one, part.support), part) for part in parts]
        of = torch.stack([n_counted(part, model.world) for part in parts])
        return (torch.stack(losses) * of).sum() / of.sum().clamp(min=1)

    def rule(self, model: GradientModel) -> Adapt:
        rate = self.rate(model.world)

        def adapt(one: Snapshot, support: Support) -> Adapted:
            theta, own_rate = over_partner(one.theta, one.y[support.entity], rate)
            z = functional.embedding(support.partner, one.z)
            rates = [rate, own_rate[:, None, None], *[rate] * (len(theta) - 2)]
            return descend(theta, z, model.wrong(one, support), rates, self.inner_steps)

        return adapt


class _ContentModel(GradientModel):
    def __init__(self, world: World, method: MeLU, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        partner = FieldEncoder(world.partner_features, method.width, method.scale, generator)
        entity = FieldEncoder(world.entity_features, method.width, method.scale, generator)
        super().__init__(world, method, seed, partner, partner.width + entity.width)
        self.entity, self.kinds = entity, alike(world.partner_features)

    def entities(self, entity: Tensor | None = None) -> Tensor:
        """The fields of every entity, or of those named: [N, width]."""
        y: Tensor = self.entity(entity)
        return y
