"""CLCRec: contrastive learning ties what a partner is to who met it, so that content can stand in for it.

With a partner's collaborative vector E_p (warm partners only) and its content g(x_p), a small network,

    L_content = -log softmax over drawn q of  cos(E_p, g(x_q)) / temperature,  at q = p
    L_met     = the loss of f(e, p) = u_e . z_p + b_p on the query,   z_p = E_p, or g(x_p) with probability `mixing`
    loss      = L_met + weight * L_content

L_met is a softmax over the catalogue (an InfoNCE whose negatives are all other partners), or the squared
error of the residual over the damped bias model at goal `rating`. A warm partner is served by the mean of
both its vectors, as it is met in training, a cold one by g(x_p). The paper's entities are ids; a cold one
has none, so that here

    u_e = u_0 + ridge of y on the z of her support,   y = a(r), or the residual

with u_0, the damping, and a scale of y and what a low rating takes away (`ranking`) learned. At zero shots u_e = u_0.

Yinwei Wei, Xiang Wang, Qi Li, Liqiang Nie, Yan Li, Xuanping Li and Tat-Seng Chua (2021), Contrastive
Learning for Cold-Start Recommendation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.nn.features import Known, design_matrix
from baselines.nn.inner_loop import initial
from baselines.nn.meta_training import Schedule, meta_train
from baselines.nn.ridge import ridge
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorLearner, VectorModel
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class CLCRec(Method):
    width: int = searched(32, 16, 128, log=True)
    weight: float = searched(0.1, 0.01, 3.0, log=True)  # of the contrast
    mixing: float = searched(0.3, 0.0, 0.8)
    temperature: float = searched(0.2, 0.05, 1.0, log=True)
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    weight_decay: float = 0.3
    contrasted: int = 256  # partners drawn for a step of the contrast
    hidden: int = 64
    damping: float = 1.0  # where the learned one starts
    scale: float = 0.1
    steps: int = 200
    tasks_per_step: int = 256
    evaluate_every: int = 20
    patience: int = 4

    def unsupported(self, world: World) -> str | None:
        return None if world.partner_features.width else "it reads content alone, and nothing is known of the partners"

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))
        luck = torch.Generator(world.device).manual_seed(seed + 1)
        warm = torch.nonzero(world.partner_is_warm).flatten()

        def loss(episode: Episode) -> Tensor:
            content = model.content()
            z = model.mixed(content, torch.rand(world.n_partners, 1, generator=luck, device=world.device) < self.mixing)
            drawn = warm[torch.randperm(len(warm), generator=luck, device=world.device)[: self.contrasted]]
            near = functional.normalize(model.e[drawn], dim=1) @ functional.normalize(content[drawn], dim=1).T / self.temperature
            contrast = functional.cross_entropy(near, torch.arange(len(drawn), device=world.device))
            return model.loss(z, model.entities(z, episode.support, model.prior, model.numbers), episode) + self.weight * contrast

        def learner() -> Learner:
            with torch.no_grad():
                prior, numbers, b = model.prior.clone(), model.numbers.clone(), model.b.clone()
                content = model.content()
                z = (1 - self.mixing) * model.mixed(content, torch.zeros_like(model.warm)) + self.mixing * content
            return VectorLearner(world, model.bias, z, b, lambda z, support: model.entities(z, support, prior, numbers), prior.numel() + 3)

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience, self.weight_decay)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule)


class _Model(VectorModel):
    def __init__(self, method: CLCRec, world: World, generator: torch.Generator) -> None:
        super().__init__(world, method.width, method.scale, generator)
        self.method, self.known, self.warm = method, Known(design_matrix(world.partner_features)), world.partner_is_warm[:, None]
        del self.encoder  # both vectors are learned apart here
        first, offset, *_ = initial((self.known.x.shape[1], method.hidden), generator, 0.0)
        second = torch.randn(method.hidden, method.width, generator=generator) * method.scale / method.hidden**0.5
        self.net = nn.ParameterList([nn.Parameter(w.to(world.device)) for w in (first, offset, second)])
        self.e = nn.Parameter((torch.randn(world.n_partners, method.width, generator=generator) * method.scale).to(world.device))
        self.prior = nn.Parameter(torch.zeros(method.width, device=world.device))
        # log damping, scale, dislike
        self.numbers = nn.Parameter(torch.tensor([method.damping, 1.0, 1.0], device=world.device))
        self.numbers.data[0].log_()

    def content(self) -> Tensor:
        """g(x) of every partner: [n_partners, width]."""
        first, offset, second = self.net
        out: Tensor = (self.known(first) + offset).relu() @ second
        return out

    def mixed(self, content: Tensor, swap: Tensor) -> Tensor:
        """E_p, or g(x_p) where `swap` [n_partners, 1] or the partner is cold."""
        return torch.where(self.warm & ~swap, self.e, content)

    def entities(self, z: Tensor, support: Support, prior: Tensor, numbers: Tensor) -> Tensor:
        """u_e: [T, width]."""
        log_damping, scale, dislike = numbers
        y = scale * taste(support.rating, self.world, dislike) * support.mask if self.world.goal == "ranking" else self.left(support)
        seen = z[support.partner] * support.mask[:, :, None]
        return prior + ridge(seen, y, torch.zeros_like(prior), log_damping.exp())
