"""Matching network: attention over the support, and the attended ratings are the answer.

With z_p the embedding of a partner, cosine similarity c and a learned temperature tau,

    a_j(p) = softmax over the support of c(z_p, z_j) * tau, with one more, learned, empty place
    g(e, p) = sum_j a_j(p) y_j

y is the label of a row: a(r), on a line from 1 - dislike (learned) for the lowest rating to 1
(`ranking`), or its residual over the damped bias model (`rating`). The empty place says 0 and takes all attention at zero shots, where the
answer is popularity, or the bias model; it also lets a support that is like nothing say nothing.

`ranking`: s = strength g + b_p, trained by a sampled softmax over the catalogue; `rating`: r_hat = bias model
+ g + b_p, by squared error. `context=True` adds the full context embedding of the support: each row
attends to the others before it is compared (the paper's bidirectional LSTM reads an order, and a
support has none; attention is its form for sets).

Oriol Vinyals, Charles Blundell, Timothy Lillicrap, Koray Kavukcuoglu and Daan Wierstra (2016),
Matching Networks for One Shot Learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import chunks
from baselines.nn.features import PartnerEncoder
from baselines.nn.meta_training import Negatives, Schedule, log_popularity, meta_train, squared_error
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class MatchingNetwork(Method):
    width: int = searched(32, 8, 128, log=True)
    context: bool = searched(False, choices=(False, True))
    scale: float = searched(0.3, 0.03, 1.0, log=True)
    negatives: int = 512  # `ranking`: candidates a training step compares with
    steps: int = 400
    tasks_per_step: int = 128
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    evaluate_every: int = 25
    patience: int = 4

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))
        bias = DampedBias.fit(world)
        negatives = Negatives(world, self.negatives, seed)

        def loss(episode: Episode) -> Tensor:
            space = model.space()
            state = remember(space, label(space, world, bias, episode.support), episode.support)
            if world.goal == "ranking":
                drawn, asked = negatives.draw(), episode.query_partner
                scores = [space.strength * attend(space, *state, partner) + space.b[partner] for partner in (drawn, asked)]
                return negatives.softmax(drawn, *scores, episode)
            near = attend(space, *state, episode.query_partner) + space.b[episode.query_partner]
            return squared_error(bias.predict(bias.entity(episode.support), episode.query_partner) + near, episode)

        def learner() -> Learner:
            with torch.no_grad():
                return _Learner(world, bias, Space(*(part.clone() for part in model.space().parts())))

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule)


@dataclass(frozen=True, eq=False)
class Space:
    """What was learned."""

    z: Tensor  # [n_partners, width], of length 1
    b: Tensor  # [n_partners]
    temperature: Tensor  # [] tau
    empty: Tensor  # [] the empty place's logit
    strength: Tensor  # []
    dislike: Tensor  # [] what the lowest rating takes away from a label of 1
    mix: Tensor  # [] how much of its context a row takes on; 0 without full context embeddings

    def parts(self) -> tuple[Tensor, ...]:
        return self.z, self.b, self.temperature, self.empty, self.strength, self.dislike, self.mix


class _Model(nn.Module):
    def __init__(self, method: MatchingNetwork, world: World, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = PartnerEncoder(world, method.width, method.scale, generator)
        ranks = world.goal == "ranking"
        self.b = nn.Parameter(log_popularity(world) if ranks else torch.zeros(world.n_partners, device=world.device))
        start = torch.tensor([2.0, 1.0, 3.0, 1.0], device=world.device)
        self.log_temperature, self.empty, self.strength, self.dislike = (nn.Parameter(one) for one in start)
        self.mix = nn.Parameter(torch.full((), 0.1, device=world.device), requires_grad=method.context)
        self.context = method.context

    def space(self) -> Space:
        z = functional.normalize(self.encoder(), dim=1)
        mix = self.mix if self.context else self.mix * 0
        return Space(z, self.b, self.log_temperature.exp(), self.empty, self.strength, self.dislike, mix)


def label(space: Space, world: World, bias: DampedBias, support: Support) -> Tensor:
    """y of the support's rows: [T, K]."""
    if world.goal == "ranking":
        return taste(support.rating, world, space.dislike)
    return bias.residual(support) - bias.entity(support)


def remember(space: Space, y: Tensor, support: Support) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of each support as (vectors [T, K, width], labels [T, K], log mask [T, K])."""
    z = space.z[support.partner]
    hidden = torch.where(support.mask, 0.0, -torch.inf)
    near = space.temperature * z @ z.mT + hidden[:, None, :]
    near = near.masked_fill(~support.mask[:, :, None], 0.0)  # rows that are not there attend to anything, and are not read
    context = near.softmax(2) @ z
    return functional.normalize(z + space.mix * context, dim=2), y * support.mask, hidden


def attend(space: Space, rows: Tensor, y: Tensor, hidden: Tensor, partner: Tensor | None = None) -> Tensor:
    """g for every partner [T, n_partners], for partners [C] that all tasks share, or for [T, C]."""
    z = space.z if partner is None else space.z[partner]
    weight = (space.temperature * (rows @ z.mT) + hidden[:, :, None]).exp()  # [T, K, C], at most e^tau
    return (y[:, None, :] @ weight).squeeze(1) / (weight.sum(1) + space.empty.exp())


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    world: World
    bias: DampedBias
    space: Space

    def adapt(self, support: Support) -> State:
        y = label(self.space, self.world, self.bias, support)
        rows, y, hidden = remember(self.space, y, support)
        return {"rows": rows, "label": y, "hidden": hidden, "entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        rows, y, hidden = state["rows"], state["label"], state["hidden"]
        columns = len(self.space.b) if partner is None else partner.shape[1]
        g = torch.cat(
            [
                attend(self.space, rows[part], y[part], hidden[part], partner if partner is None else partner[part])
                for part in chunks(len(y), columns * y.shape[1], y.device)
            ]
        )
        b = self.space.b if partner is None else self.space.b[partner]
        if self.world.goal == "ranking":
            return self.space.strength * g + b
        return g + b + self.bias.predict(state["entity"], partner)

    def parameters(self) -> int:
        return sum(part.numel() for part in self.space.parts())
