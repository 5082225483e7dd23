"""A factor model trained on the warm entities and then frozen: the base that warm-up methods build on.

    f(e, p) = u_e . z_p + b_p

with an embedding u_e for each warm entity, by a softmax over the catalogue (`ranking`) or squared error
over the damped bias model of all her rows (`rating`; of a support's it would leave her own mean in u_e, to be
counted twice), and weight decay. There is nothing to validate on: a cold entity
has no u_e, which is what its methods are about.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.nn.meta_training import Descent, Watch, counted
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorModel
from benchmark.contract import Support, World
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True, eq=False)
class Base:
    """The frozen model, and the embeddings of the entities it was trained on."""

    model: VectorModel
    z: Tensor  # [n_partners, width]
    b: Tensor  # [n_partners]
    u: Tensor  # [n_entities, width]; of those it was not trained on, as drawn
    mean: Tensor  # [width], of the embeddings of the entities it was trained on

    def loss_of_rows(self, u: Tensor, support: Support, dislike: float) -> Tensor:
        """The loss of vectors u [T, width] on the support, row by row: [T, K], 0 where masked."""
        f = (self.z[support.partner] @ u[:, :, None]).squeeze(2)
        if self.model.world.goal == "ranking":
            return (functional.softplus(f) - taste(support.rating, self.model.world, dislike) * f) * support.mask
        return (f + self.b[support.partner] - self.model.left(support)).square() * support.mask / 2

    def descend(self, u: Tensor, support: Support, rate: float | Tensor, steps: int, dislike: float, learn: bool) -> Tensor:
        """u [T, width] after `steps` of gradient descent on each entity's mean loss over her support; with `learn`, of second order."""
        with torch.enable_grad():
            for _ in range(steps):
                u = u if learn and u.requires_grad else u.detach().requires_grad_()
                (step,) = torch.autograd.grad(self.loss_of_rows(u, support, dislike).sum(), u, create_graph=learn)
                u = u - rate / support.count()[:, None].clamp(min=1) * step
        return u if learn else u.detach()


def pretrain(world: World, width: int, scale: float, steps: int, learning_rate: float, seed: int) -> Base:
    """Trains the base on batches of warm entities and the rows that the sampler draws of them."""
    generator = torch.Generator().manual_seed(seed)
    model = VectorModel(world, width, scale, generator)
    u = nn.Parameter((torch.randn(world.n_entities, width, generator=generator) * scale).to(world.device))
    sampler = TaskSampler(world, seed, n_query=40)
    n_tasks = max(1, min(256, sampler.n_able // 3))
    optimiser = torch.optim.AdamW([*model.parameters(), u], lr=learning_rate, weight_decay=0.05, fused=True)
    b_e, watch = model.bias.warm_entity(world)[:, None], Watch([*model.parameters(), u], learning_rate)

    def loss(episode: Episode) -> Tensor:
        entity = episode.support.entity
        return model.loss(model.encoder(), u[entity], episode, b_e[entity])

    descent = Descent(loss, counted(world))
    for step in range(1, steps + 1):
        value = descent.backward(sampler.sample(n_tasks), optimiser)
        optimiser.step()
        watch.saw(value, step)
    watch.check(steps)
    model.requires_grad_(False)
    return Base(model, model.encoder(), model.b, u.detach(), u.detach()[sampler.able].mean(0))
