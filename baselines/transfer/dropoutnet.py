"""DropoutNet: a factor model's vectors and content go through one network, trained with the vectors dropped.

Over a frozen factor model with u_e and z_p (`baselines.nn.pretrained`), and features x_e, x_p,

    u'_e = net_e([u_e; x_e]),   z'_p = net_p([z_p; x_p]),   f(e, p) = u'_e . z'_p + b_p
    u_e for a task = the transform below, or 0 with probability `dropout`;  z_p = 0 likewise

A cold entity's input is the paper's user transform, the mean of her support's partners, each weighed by
y (a(r) at `ranking`, the residual over the damped bias model at `rating`),

    u_e = sum_j y_j z_j / (damping + k)

of z scaled to variance 1; a cold partner's input is 0, and content speaks alone. Training inputs are
such means, drawn at every k, and the query's loss is minimised, where the paper regresses the
factor model's own scores on inputs half of which are the warm u_e. Zero shots are the dropped case.

Maksims Volkovs, Guangwei Yu and Tomi Poutanen (2017), DropoutNet: Addressing Cold Start in Recommender Systems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.features import Known, design_matrix
from baselines.nn.inner_loop import initial
from baselines.nn.meta_training import Schedule, meta_train
from baselines.nn.pretrained import Base, pretrain
from baselines.nn.taste import taste
from baselines.nn.vector_model import VectorLearner
from benchmark.contract import Learner, Method, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class DropoutNet(Method):
    width: int = searched(32, 16, 128, log=True)
    hidden: int = searched(64, 16, 256, log=True)
    dropout: float = searched(0.3, 0.0, 0.8)
    dislike: float = searched(1.2, 0.0, 1.5)  # `ranking`: what the lowest rating takes away
    learning_rate: float = searched(0.003, 0.0003, 0.03, log=True)  # `ranking`
    rating_learning_rate: float = searched(0.001, 0.0001, 0.01, log=True)
    damping: float = searched(10.0, 0.5, 50.0, log=True)
    scale: float = 0.1  # of the base's embeddings at the start
    base_steps: int = 100
    base_learning_rate: float = 0.02
    weight_decay: float = 0.3
    steps: int = 300
    tasks_per_step: int = 256
    evaluate_every: int = 20
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        base = pretrain(world, self.width, self.scale, self.base_steps, self.base_learning_rate, seed)
        model = _Model(self, base, torch.Generator().manual_seed(seed + 1))
        luck = torch.Generator(world.device).manual_seed(seed + 2)

        def kept(n: int) -> Tensor:
            return (torch.rand(n, 1, generator=luck, device=world.device) >= self.dropout).float()

        def loss(episode: Episode) -> Tensor:
            u = model.entities(episode.support, model.of_entity, kept(len(episode.support)))
            return base.model.loss(model.partners(kept(world.n_partners)), u, episode)

        def learner() -> Learner:
            with torch.no_grad():
                z, net = model.partners(), [w.clone() for w in model.of_entity]
            own = sum(w.numel() for w in net) + model.z.numel()
            return VectorLearner(world, base.model.bias, z, base.b.detach().clone(), lambda _, support: model.entities(support, net), own)

        rate = self.learning_rate if world.goal == "ranking" else self.rating_learning_rate
        schedule = Schedule(self.steps, self.tasks_per_step, rate, self.evaluate_every, self.patience, self.weight_decay)
        return meta_train(model.parameters(), TaskSampler(world, seed + 1), loss, learner, validate, schedule)


class _Model(nn.Module):
    """The two networks, each one hidden layer beside a straight way for the vector."""

    def __init__(self, method: DropoutNet, base: Base, generator: torch.Generator) -> None:
        super().__init__()
        world = base.model.world
        self.method, self.base = method, base
        self.z = base.z * world.partner_is_warm[:, None] / base.z[world.partner_is_warm].std()
        self.x, self.known = Known(design_matrix(world.partner_features)), design_matrix(world.entity_features)
        width, hidden = method.width, method.hidden

        def network(known: int) -> nn.ParameterList:
            first, offset, *_ = initial((width + known, hidden), generator, 0.0)
            second = torch.randn(hidden, width, generator=generator) * 0.1 / hidden**0.5
            straight = torch.eye(width) * width**-0.5
            return nn.ParameterList([nn.Parameter(w.to(world.device)) for w in (first, offset, second, straight)])

        self.of_entity, self.of_partner = network(self.known.shape[1]), network(self.x.x.shape[1])

    def partners(self, kept: Tensor | float = 1.0) -> Tensor:
        """z': [n_partners, width]."""
        return through(self.z * kept, self.x, self.of_partner)

    def entities(self, support: Support, network: nn.ParameterList | list[Tensor], kept: Tensor | float = 1.0) -> Tensor:
        """u': [T, width]."""
        model = self.base.model
        y = taste(support.rating, model.world, self.method.dislike) * support.mask if model.world.goal == "ranking" else model.left(support)
        mean = (y[:, None] @ self.z[support.partner]).squeeze(1) / (self.method.damping + support.count()[:, None])
        return through(mean * kept, lambda table: self.known[support.entity] @ table, network)


def through(vector: Tensor, known: Callable[[Tensor], Tensor], network: nn.ParameterList | list[Tensor]) -> Tensor:
    """[n, width]; `known` is the content's product with a table."""
    first, offset, second, straight = network
    width = vector.shape[1]
    return (torch.addmm(known(first[width:]), vector, first[:width]) + offset).relu() @ second + vector @ straight
