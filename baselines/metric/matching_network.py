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
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import by_length, in_length_order
from baselines.nn.features import PartnerEncoder
from baselines.nn.meta_training import Negatives, Schedule, counted, log_popularity, meta_train, squared_error
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
            episode, parts = by_length(episode)
            states = [remember(space, label(space, world, bias, part.support), part.support) for part in parts]
            asked = episode.query_partner
            near = torch.cat([attend(space, *state, part.query_partner) for state, part in zip(states, parts, strict=True)])
            if world.goal == "ranking":
                drawn = negatives.draw()
                of_drawn = space.strength * torch.cat([attend(space, *state, drawn) for state in states]) + space.b[drawn]
                return negatives.softmax(drawn, of_drawn, space.strength * near + space.b[asked], episode)
            return squared_error(bias.predict(bias.entity(episode.support), asked) + near + space.b[asked], episode)

        def learner() -> Learner:
            with torch.no_grad():
                space = model.space()
                return _Learner(world, bias, replace(space, **{name: part.clone() for name, part in space.parts().items()}))

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule, counted(world, drawn=True))


@dataclass(frozen=True, eq=False)
class Space:
    """What was learned."""

    z: Tensor  # [n_partners, width], of length 1
    b: Tensor  # [n_partners]
    temperature: Tensor  # [] tau
    empty: Tensor  # [] the empty place's logit
    strength: Tensor  # []
    dislike: Tensor  # [] what the lowest rating takes away from a label of 1
    mix: Tensor | None  # [] how much of its context a row takes on; None without full context embeddings

    def parts(self) -> dict[str, Tensor]:
        return {name: part for name, part in vars(self).items() if part is not None}


class _Model(nn.Module):
    def __init__(self, method: MatchingNetwork, world: World, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = PartnerEncoder(world, method.width, method.scale, generator)
        ranks = world.goal == "ranking"
        self.b = nn.Parameter(log_popularity(world) if ranks else torch.zeros(world.n_partners, device=world.device))
        start = torch.tensor([2.0, 1.0, 3.0, 1.0], device=world.device)
        self.log_temperature, self.empty, self.strength, self.dislike = (nn.Parameter(one) for one in start)
        self.mix = nn.Parameter(torch.full((), 0.1, device=world.device)) if method.context else None

    def space(self) -> Space:
        z = functional.normalize(self.encoder(), dim=1)
        return Space(z, self.b, self.log_temperature.exp(), self.empty, self.strength, self.dislike, self.mix)


def label(space: Space, world: World, bias: DampedBias, support: Support) -> Tensor:
    """y of the support's rows: [T, K]."""
    if world.goal == "ranking":
        return taste(support.rating, world, space.dislike)
    return bias.residual(support) - bias.entity(support)


def remember(space: Space, y: Tensor, support: Support) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of each support as (vectors [T, K, width], labels [T, K], mask [T, K] of zeros and ones)."""
    z = functional.embedding(support.partner, space.z)
    if space.mix is not None:
        near = space.temperature * z @ z.mT + torch.where(support.mask, 0.0, -torch.inf)[:, None, :]
        near = near.masked_fill(~support.mask[:, :, None], 0.0)  # rows that are not there attend to anything, and are not read
        z = z + space.mix * (near.softmax(2) @ z)
    return functional.normalize(z, dim=2), y * support.mask, support.mask.to(z.dtype)


def attend(space: Space, rows: Tensor, y: Tensor, shown: Tensor, partner: Tensor | None = None) -> Tensor:
    """g for every partner [T, n_partners], for partners [C] that all tasks share, or for [T, C]."""
    z = space.z if partner is None else functional.embedding(partner, space.z)
    weight = ((space.temperature * rows) @ z.mT).exp()  # [T, K, C], at most e^tau
    said, total = (torch.stack([y, shown], 1) @ weight).unbind(1)  # what is masked weighs nothing in either sum
    return said / (total + space.empty.exp())


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    world: World
    bias: DampedBias
    space: Space

    def adapt(self, support: Support) -> State:
        y = label(self.space, self.world, self.bias, support)
        rows, y, shown = remember(self.space, y, support)
        return {"rows": rows, "label": y, "shown": shown, "entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        rows, y, shown = state["rows"], state["label"], state["shown"]
        columns = len(self.space.b) if partner is None else partner.shape[1]
        g = y.new_empty(len(y), columns)
        for run, k in in_length_order(shown > 0, columns):
            asked = None if partner is None else partner[run]
            g[run] = attend(self.space, rows[run, :k], y[run, :k], shown[run, :k], asked)
        b = self.space.b if partner is None else self.space.b[partner]
        if self.world.goal == "ranking":
            return self.space.strength * g + b
        return g + b + self.bias.predict(state["entity"], partner)

    def parameters(self) -> int:
        return sum(part.numel() for part in self.space.parts().values())
