"""MeLU: a user-preference estimator on content, of which only the decision layers are adapted.

Each field of partner and entity (genres, decade, age, ...) has an embedding; all are laid side by
side and pass two hidden layers, the decision layers phi, to one number:

    x_ep = [fields of p; fields of e],   f(e, p) = decide(x_ep; phi_e) + b_p
    phi_e = theta - inner_rate * d/d theta L(theta, support), inner_steps times, of second order

Embeddings are shared and stay as they are within a task. No partner has an embedding of its own, so
two partners of the same content differ by b_p alone, which is slow and learned for all (the suite's
common base: the residual over the bias model, log popularity; the paper predicts the rating itself).
The paper's inner rate, 5e-6, moves no prediction visibly; this one does.

The entity's fields enter the first layer alone, so they are folded into its offset and the catalogue
is scored as if they were not there. At zero shots phi is theta.

Hoyeop Lee, Jinbae Im, Seongwon Jang, Hyunsouk Cho and Sehee Chung (2019), MeLU: Meta-Learned User
Preference Estimator for Cold-Start Recommendation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.features import FieldEncoder
from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel, Snapshot
from baselines.nn.inner_loop import Weights, descend
from benchmark.contract import Support, World


@dataclass(frozen=True)
class MeLU(GradientMethod):
    hidden: tuple[int, ...] = (64, 64)
    inner_steps: int = 1
    steps: int = 300
    scale: float = 0.3
    negatives: int = 256
    tasks_per_step: int = 128
    learning_rate: float = 0.005
    evaluate_every: int = 50
    patience: int = 3

    def unsupported(self, world: World) -> str | None:
        return None if world.partner_features.width else "it reads content alone, and nothing is known of the partners"

    def model(self, world: World, seed: int) -> GradientModel:
        return _ContentModel(world, self, seed)

    def rule(self, model: GradientModel) -> Adapt:
        def adapt(one: Snapshot, support: Support) -> Weights:
            own = one.y[support.entity]
            x = torch.cat([one.z[support.partner], own[:, None].expand(-1, support.mask.shape[1], -1)], 2)
            phi = descend(one.theta, x, model.wrong(one, support), [self.rate(model.world)] * len(one.theta), self.inner_steps)
            return fold(phi, own)

        return adapt


class _ContentModel(GradientModel):
    def __init__(self, world: World, method: MeLU, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        partner = FieldEncoder(world.partner_features, method.width, method.scale, generator)
        entity = FieldEncoder(world.entity_features, method.width, method.scale, generator)
        super().__init__(world, method, seed, partner, partner.width + entity.width)
        self.entity = entity

    def entities(self) -> Tensor:
        """The fields of every entity: [n_entities, width]."""
        y: Tensor = self.entity()
        return y


def fold(phi: Weights, own: Tensor) -> Weights:
    """phi over [fields of p; own fields [T, d]] as weights over the fields of p alone, exactly."""
    first, offset = phi[0], phi[1]
    width = first.shape[-2] - own.shape[1]
    return first[..., :width, :], offset + own[:, None] @ first[..., width:, :], *phi[2:]
