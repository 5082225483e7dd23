"""MWUF: a cold embedding is warmed up by a scaling from features and a shifting from who met it.

Over a frozen factor model f(e, p) = u_e . z_p + b_p (`baselines.nn.pretrained`), the cold embedding
starts at the mean of the warm ones and takes gradient steps on the support; two meta networks then
map it into the space of warm embeddings:

    v_e = mean of warm u, then inner_steps of -inner_rate * d L(v_e, support)
    u_e = v_e * scale(x_e) + shift(g_e),   g_e = sum of [z_j, y_j z_j] over the support / (k + damping)

scale reads the features x_e (a learned vector where there are none), shift the partners met, once as
they are and once with what their rating says: y_j = a(r_j) (`ranking`) or the residual over the damped
bias model (`rating`), since a rating may also be low and the paper's clicks may not. The meta networks
alone are trained, on the query. At zero shots g_e = 0 and v_e is the mean.

Yongchun Zhu, Ruobing Xie, Fuzhen Zhuang, Kaikai Ge, Ying Sun, Xu Zhang, Leyu Lin and Juan Cao (2021),
Learning to Warm Up Cold Item Embeddings for Cold-Start Recommendation with Meta Scaling and Shifting
Networks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.features import design_matrix
from baselines.nn.inner_loop import initial
from baselines.nn.meta_training import Schedule, counted, meta_train
from baselines.nn.pretrained import Base, pretrain
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorLearner
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import TaskSampler


@dataclass(frozen=True)
class MWUF(Method):
    width: int = searched(32, 8, 128, log=True)
    hidden: int = 64  # of the shifting network
    scale: float = 0.1  # of the base's embeddings at the start
    base_steps: int = 200
    base_learning_rate: float = searched(0.02, 0.003, 0.1, log=True)
    inner_steps: int = 1
    inner_rate: float = searched(0.1, 0.01, 1.0, log=True)  # `ranking`
    rating_inner_rate: float = searched(0.02, 0.002, 0.2, log=True)
    damping: float = searched(1.0, 0.1, 10.0, log=True)
    dislike: float = searched(0.8, 0.0, 2.0)  # `ranking`: a(r) is 1 for the highest rating and 1 - dislike for the lowest
    steps: int = 200
    tasks_per_step: int = 256
    learning_rate: float = searched(0.005, 0.001, 0.05, log=True)
    evaluate_every: int = 25
    patience: int = 3

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        base = pretrain(world, self.width, self.scale, self.base_steps, self.base_learning_rate, seed)
        networks = _Networks(self, base, seed)

        def learner() -> Learner:
            frozen = copy.deepcopy(networks).requires_grad_(False)
            own = sum(p.numel() for p in frozen.parameters())
            return VectorLearner(world, base.model.bias, base.z, base.b, lambda _, support: frozen(support), own)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(
            networks.parameters(),
            TaskSampler(world, seed + 1),
            lambda episode: base.model.loss(base.z, networks(episode.support), episode),
            learner,
            validate,
            schedule,
            counted(world),
        )


class _Networks(nn.Module):
    """scale and shift."""

    def __init__(self, method: MWUF, base: Base, seed: int) -> None:
        super().__init__()
        self.method, self.base = method, base
        world = base.model.world
        device = world.device
        self.known = design_matrix(world.entity_features)
        self.scale = nn.Parameter(torch.zeros(self.known.shape[1], method.width, device=device))
        self.scale_b = nn.Parameter(torch.ones(method.width, device=device))
        first, first_b, *_ = initial((2 * method.width, method.hidden), torch.Generator().manual_seed(seed), 0.0)
        self.first, self.first_b = nn.Parameter(first.to(device)), nn.Parameter(first_b.to(device))
        self.second = nn.Parameter(torch.zeros(method.hidden, method.width, device=device))

    def forward(self, support: Support) -> Tensor:
        """u_e: [T, width]."""
        base, method, world = self.base, self.method, self.base.model.world
        rate = method.inner_rate if world.goal == "ranking" else method.rating_inner_rate
        start = base.mean.expand(len(support), -1)
        cold = base.descend(start, support, rate, method.inner_steps, method.dislike, learn=False)
        y = taste(support.rating, world, method.dislike) * support.mask if world.goal == "ranking" else base.model.left(support)
        z = base.z[support.partner] * support.mask[:, :, None]
        met = torch.cat([z, z * y[:, :, None]], 2).sum(1) / (support.count()[:, None] + method.damping)
        shift = (met @ self.first + self.first_b).relu() @ self.second
        return cold * (self.scale_b + self.known[support.entity] @ self.scale) + shift
