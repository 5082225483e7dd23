"""Relation network: how near a partner is to a class is itself learned, not a fixed distance.

Two classes, + and -: liked or not (`ranking`: rating >= relevant_from; `rating`: above the damped
bias model or not). With z_p the embedding of a partner and c the pooled embeddings of a class (their
mean; a learned prior vector where the class is empty),

    rel(c, p) = v . relu(A c + B z_p + a)          the relation module, one for each class
    s(p) = rel_+(c_+, p) + rel_-(c_-, p) + b_p     (`ranking`; sampled softmax over the catalogue)
    r_hat = bias model + rel_+ + rel_- + b_p       (`rating`; squared error, as the paper regresses)

A c and B z_p are computed once a class and once a partner, so a pair costs one small layer. At zero
shots both classes are the priors.

Flood Sung, Yongxin Yang, Li Zhang, Tao Xiang, Philip Torr and Timothy Hospedales (2018), Learning to
Compare: Relation Network for Few-Shot Learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import chunks
from baselines.nn.features import PartnerEncoder
from baselines.nn.meta_training import Negatives, Schedule, counted, log_popularity, meta_train, squared_error
from baselines.nn.taste import liked
from benchmark.contract import Learner, Method, State, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class RelationNetwork(Method):
    width: int = searched(32, 8, 128, log=True)
    hidden: int = searched(16, 8, 64, log=True)
    scale: float = searched(0.3, 0.03, 1.0, log=True)  # of the embeddings at the start
    negatives: int = 512  # `ranking`: candidates a training step compares with
    steps: int = 400
    tasks_per_step: int = 128
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    evaluate_every: int = 50
    patience: int = 3

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, torch.Generator().manual_seed(seed))
        bias, negatives = DampedBias.fit(world), Negatives(world, self.negatives, seed)

        def loss(episode: Episode) -> Tensor:
            space = model.space()
            both = classes(space, liked(world, bias, episode.support), episode.support)
            asked = episode.query_partner
            if world.goal == "ranking":
                drawn = negatives.draw()
                return negatives.softmax(drawn, relate(space, both, drawn), relate(space, both, asked), episode)
            return squared_error(bias.predict(bias.entity(episode.support), asked) + relate(space, both, asked), episode)

        def learner() -> Learner:
            with torch.no_grad():
                return _Learner(world, bias, Space(*(part.clone() for part in model.space().parts())))

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(model.parameters(), TaskSampler(world, seed), loss, learner, validate, schedule, counted(world, drawn=True))


@dataclass(frozen=True, eq=False)
class Space:
    """What was learned; the first axis of A, a, v and prior is the class, + then -."""

    z: Tensor  # [n_partners, width]
    bz: Tensor  # [n_partners, 2, hidden], B z of each partner for each class
    prior: Tensor  # [2, width]
    a_c: Tensor  # [2, width, hidden]
    a: Tensor  # [2, hidden]
    v: Tensor  # [2, hidden]
    b: Tensor  # [n_partners]

    def parts(self) -> tuple[Tensor, ...]:
        return self.z, self.bz, self.prior, self.a_c, self.a, self.v, self.b


class _Model(nn.Module):
    def __init__(self, method: RelationNetwork, world: World, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = PartnerEncoder(world, method.width, method.scale, generator)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter((torch.randn(*shape, generator=generator) / method.width**0.5).to(world.device))

        self.prior, self.a_c = drawn(2, method.width), drawn(2, method.width, method.hidden)
        self.b_z, self.a, self.v = drawn(2, method.width, method.hidden), drawn(2, method.hidden), drawn(2, method.hidden)
        ranks = world.goal == "ranking"
        self.b = nn.Parameter(log_popularity(world) if ranks else torch.zeros(world.n_partners, device=world.device))

    def space(self) -> Space:
        z = self.encoder()
        return Space(z, torch.einsum("pd,gdh->pgh", z, self.b_z), self.prior, self.a_c, self.a, self.v, self.b)


def classes(space: Space, positive: Tensor, support: Support) -> Tensor:
    """A c + a of both classes: [T, 2, hidden]."""
    member = torch.stack([positive & support.mask, ~positive & support.mask], 1).float()  # [T, 2, K]
    n = member.sum(2, keepdim=True)
    pooled = torch.where(n > 0, member @ space.z[support.partner] / n.clamp(min=1), space.prior)
    return torch.einsum("tgd,gdh->tgh", pooled, space.a_c) + space.a


def relate(space: Space, both: Tensor, partner: Tensor | None = None) -> Tensor:
    """rel_+ + rel_- + b for every partner, for partners [C] that all tasks share, or for [T, C]: [T, C]."""
    bz = space.bz if partner is None else space.bz[partner]  # [(T,) C, 2, hidden]
    b = space.b if partner is None else space.b[partner]
    sides = [((both[:, None, side] + bz[..., side, :]).relu() @ space.v[side]) for side in range(2)]
    return sides[0] + sides[1] + b


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    world: World
    bias: DampedBias
    space: Space

    def adapt(self, support: Support) -> State:
        both = classes(self.space, liked(self.world, self.bias, support), support)
        return {"classes": both, "entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        both = state["classes"]
        columns = len(self.space.b) if partner is None else partner.shape[1]
        parts = chunks(len(both), columns * both.shape[2], both.device)
        scores = torch.cat([relate(self.space, both[part], None if partner is None else partner[part]) for part in parts])
        return scores if self.world.goal == "ranking" else scores + self.bias.predict(state["entity"], partner)

    def parameters(self) -> int:
        return sum(part.numel() for part in self.space.parts()) - self.space.bz.numel() + 2 * self.space.a_c[0].numel()
