"""Prototypical network: a class is the mean of its members in a learned space, and nearness decides.

Two classes, + and -: liked or not (`ranking`: rating >= relevant_from; `rating`: above the damped
bias model or not). With z_p the embedding of a partner and S_c the support rows of class c,

    c_e = mean of z_j over j in S_c;  a learned prior prototype where S_c is empty
    d_c(p) = |z_p - c_e|^2

`ranking`: s(p) = d_-(p) * contrast - d_+(p) + b_p, trained by a softmax over the catalogue.
`rating`:  r_hat = bias model + b_p + spread * tanh((d_-(p) - d_+(p)) / 2), whose last term is the
expectation of +-spread under p(+) = softmax(-d), and b_p a learned offset; trained by squared error.

Trained episodically on a mix of k that includes 0, where both prototypes are the priors.

Jake Snell, Kevin Swersky and Richard Zemel (2017), Prototypical Networks for Few-shot Learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.bias import DampedBias
from baselines.nn.features import PartnerEncoder
from baselines.nn.meta_training import Schedule, catalogue_softmax, counted, log_popularity, meta_train, squared_error
from baselines.nn.taste import liked
from benchmark.contract import Learner, Method, State, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class PrototypicalNetwork(Method):
    width: int = searched(32, 8, 128, log=True)
    scale: float = searched(0.1, 0.03, 1.0, log=True)  # of the embeddings at the start
    steps: int = 600
    tasks_per_step: int = 256
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    weight_decay: float = 0.0
    evaluate_every: int = 50
    patience: int = 3

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))
        bias = DampedBias.fit(world)

        def loss(episode: Episode) -> Tensor:
            space = model.space()
            both = prototypes(space, liked(world, bias, episode.support), episode.support)
            if world.goal == "ranking":
                return catalogue_softmax(rank_scores(space, both), episode, world)
            base = bias.predict(bias.entity(episode.support), episode.query_partner)
            return squared_error(base + rating_shift(space, both, episode.query_partner), episode)

        def learner() -> Learner:
            with torch.no_grad():
                return _Learner(world, bias, Space(*(part.clone() for part in model.space().parts())))

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience, self.weight_decay)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule, counted(world))


@dataclass(frozen=True, eq=False)
class Space:
    """What was learned: where partners lie, where an empty class lies, and how far counts."""

    z: Tensor  # [n_partners, width]
    prior: Tensor  # [2, width], of class + and class -
    b: Tensor  # [n_partners]
    contrast: Tensor  # [] how much distance from what was not liked counts
    spread: Tensor  # [] rating points between the classes, halved

    def parts(self) -> tuple[Tensor, ...]:
        return self.z, self.prior, self.b, self.contrast, self.spread


class _Model(nn.Module):
    def __init__(self, method: PrototypicalNetwork, world: World, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = PartnerEncoder(world, method.width, method.scale, generator)
        self.prior = nn.Parameter(torch.zeros(2, method.width, device=world.device))
        start = log_popularity(world) if world.goal == "ranking" else torch.zeros(world.n_partners)
        self.b = nn.Parameter(start.to(world.device))
        self.contrast = nn.Parameter(torch.tensor(0.5, device=world.device))
        self.spread = nn.Parameter(torch.tensor(1.0, device=world.device))

    def space(self) -> Space:
        return Space(self.encoder(), self.prior, self.b, self.contrast, self.spread)


def prototypes(space: Space, positive: Tensor, support: Support) -> Tensor:
    """The prototypes of + and -: [T, 2, width]. That of one row is that row."""
    member = torch.stack([positive & support.mask, ~positive & support.mask], 1).float()  # [T, 2, K]
    n = member.sum(2, keepdim=True)
    mean = member @ space.z[support.partner] / n.clamp(min=1)
    return torch.where(n > 0, mean, space.prior)


def rank_scores(space: Space, both: Tensor) -> Tensor:
    """s(p) for every partner, [T, n_partners]; the distances as one product a batch."""
    positive, negative = both[:, 0], both[:, 1]
    near = 2 * (positive - space.contrast * negative) @ space.z.T
    length = space.z.square().sum(1) * (space.contrast - 1)
    own = space.contrast * negative.square().sum(1) - positive.square().sum(1)
    return near + length + own[:, None] + space.b


def rating_shift(space: Space, both: Tensor, partner: Tensor | None = None) -> Tensor:
    """What the prototypes add to the bias model for partners [T, C], or for every one."""
    positive, negative = both[:, 0], both[:, 1]
    near = 2 * (positive - negative) @ space.z.T
    gap = near + (negative.square().sum(1) - positive.square().sum(1))[:, None]
    shift = space.spread * (gap / 2).tanh() + space.b
    return shift if partner is None else shift.gather(1, partner)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    world: World
    bias: DampedBias
    space: Space

    def adapt(self, support: Support) -> State:
        both = prototypes(self.space, liked(self.world, self.bias, support), support)
        return {"prototypes": both, "entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if self.world.goal == "ranking":
            scores = rank_scores(self.space, state["prototypes"])
            return scores if partner is None else scores.gather(1, partner)
        return self.bias.predict(state["entity"], partner) + rating_shift(self.space, state["prototypes"], partner)

    def parameters(self) -> int:
        return sum(part.numel() for part in self.space.parts())
