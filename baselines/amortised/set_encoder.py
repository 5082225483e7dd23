"""Set encoder: a small network reads the support as a set and writes the entity's vector.

    u_e = u_0 + (sum_j h(z_j, y_j)) / (k + damping),   h a two-layer network,   s(p) = z'_p . u_e + b_p

trained by a softmax over the catalogue (`ranking`) or squared error over the damped bias model
(`rating`). y_j is a(r_j) on a line from 0 to 1, or the residual over the bias model. The sum makes
the order of the support mean nothing, and the learned damping lets a short support speak softly; at
zero shots u_e = u_0.

Manzil Zaheer et al. (2017), Deep Sets; as a recommender's encoder with a multinomial likelihood,
Dawen Liang, Rahul Krishnan, Matthew Hoffman and Tony Jebara (2018), Variational Autoencoders for
Collaborative Filtering.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.inner_loop import initial
from baselines.nn.meta_training import Schedule, counted, meta_train
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorLearner, VectorModel
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class SetEncoder(Method):
    width: int = searched(32, 8, 128, log=True)
    hidden: int = searched(128, 32, 256, log=True)
    damping: float = 2.0  # where the learned one starts
    scale: float = searched(0.1, 0.03, 1.0, log=True)
    steps: int = 400
    tasks_per_step: int = 256
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    evaluate_every: int = 10  # on a small data set it is at its best after a few dozen steps
    patience: int = 12

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))

        def loss(episode: Episode) -> Tensor:
            z = model.encoder()
            return model.loss(z, model.reader(z, label(model, episode.support), episode.support), episode)

        def learner() -> Learner:
            reader = copy.deepcopy(model.reader).requires_grad_(False)
            with torch.no_grad():
                z, b = model.encoder().clone(), model.b.clone()
            own = sum(p.numel() for p in reader.parameters())
            return VectorLearner(world, model.bias, z, b, lambda z, support: reader(z, label(model, support), support), own)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule, counted(world))


class _Model(VectorModel):
    def __init__(self, method: SetEncoder, world: World, generator: torch.Generator) -> None:
        super().__init__(world, method.width, method.scale, generator)
        self.reader = _Reader(method, generator).to(world.device)


class _Reader(nn.Module):
    """h, u_0 and the damping."""

    def __init__(self, method: SetEncoder, generator: torch.Generator) -> None:
        super().__init__()
        width, hidden = method.width, method.hidden
        first, first_b, *_ = initial((2 * width + 1, hidden), generator, 0.0)
        self.first, self.first_b = nn.Parameter(first), nn.Parameter(first_b)
        self.second = nn.Parameter(torch.randn(hidden, width, generator=generator) / hidden**0.5)
        self.prior = nn.Parameter(torch.zeros(width))
        self.log_damping = nn.Parameter(torch.tensor(method.damping).log())

    def forward(self, z: Tensor, y: Tensor, support: Support) -> Tensor:
        """u_e, [T, width]."""
        seen = z[support.partner]
        x = torch.cat([seen, seen * y[:, :, None], y[:, :, None]], 2)
        each = (x @ self.first + self.first_b).relu() @ self.second * support.mask[:, :, None]
        return self.prior + each.sum(1) / (support.count()[:, None] + self.log_damping.exp())


def label(model: _Model, support: Support) -> Tensor:
    """y of the support's rows: [T, K]."""
    if model.world.goal == "ranking":
        return taste(support.rating, model.world, 1.0) * support.mask
    return model.left(support)
