"""Ridge head: a differentiable closed-form solver is the learner (R2-D2).

Each entity's head is the ridge solution on its support, around a learned prior vector u_0,

    u_e = u_0 + X' (X X' + damping I)^-1 (y - X u_0),    f(e, p) = z_p . u_e + b_p

X [K, width] holds the embeddings of the support, y its labels: scale a(r) + shift with a(r) on a line
from 1 - dislike to 1 (`ranking`; scale, shift and dislike learned), or the residual over the damped
bias model (`rating`). Embeddings, u_0 and damping are trained through the solver, by a softmax over
the catalogue or by squared error. The system solved is K x K (Woodbury) where that is the smaller one. At zero
shots u_e = u_0.

Luca Bertinetto, Joao Henriques, Philip Torr and Andrea Vedaldi (2019), Meta-Learning with
Differentiable Closed-Form Solvers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.meta_training import Schedule, counted, meta_train
from baselines.nn.ridge import ridge
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorLearner, VectorModel
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class RidgeHead(Method):
    width: int = searched(32, 8, 128, log=True)
    damping: float = 5.0  # where the learned one starts
    scale: float = searched(0.3, 0.03, 1.0, log=True)  # of the embeddings at the start
    steps: int = 400
    tasks_per_step: int = 256
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    evaluate_every: int = 25
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))

        def loss(episode: Episode) -> Tensor:
            z = model.encoder()
            return model.loss(z, encode(model, z, episode.support, model.prior, model.numbers), episode)

        def learner() -> Learner:
            with torch.no_grad():
                prior, numbers = model.prior.clone(), model.numbers.clone()
                z, b = model.encoder().clone(), model.b.clone()
            own = prior.numel() + numbers.numel()
            return VectorLearner(world, model.bias, z, b, lambda z, support: encode(model, z, support, prior, numbers), own)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule, counted(world))


class _Model(VectorModel):
    def __init__(self, method: RidgeHead, world: World, generator: torch.Generator) -> None:
        super().__init__(world, method.width, method.scale, generator)
        self.prior = nn.Parameter(torch.zeros(method.width, device=world.device))
        # log damping, scale, shift, dislike
        start = [torch.tensor(method.damping).log().item(), 1.0, 0.0, 1.0]
        self.numbers = nn.Parameter(torch.tensor(start, device=world.device))


def encode(model: _Model, z: Tensor, support: Support, prior: Tensor, numbers: Tensor) -> Tensor:
    """u_e, [T, width], by one solve a task."""
    log_damping, scale, shift, dislike = numbers
    y = scale * taste(support.rating, model.world, dislike) + shift if model.world.goal == "ranking" else model.left(support)
    return ridge(z[support.partner] * support.mask[:, :, None], y * support.mask, prior, log_damping.exp())
