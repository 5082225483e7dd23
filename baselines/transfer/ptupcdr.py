"""PTUPCDR: each entity has a bridge of her own between the domains, written by a network that reads her source rows.

Over frozen factor models of both domains (`baselines.nn.domains`), with source factors v^s and target factors v^t,

    c_e = sum_j softmax_j(attend(v^s_j)) v^s_j             her characteristics, over her source rows
    B_e = I + bridge(c_e)                                  [d, d], two layers; S is the linear bridge of all
    u_0 = (u^s_e S) B_e,   f(e, p) = u_0 . v^t_p + b_p

trained on the target rows of warm entities met in both (the paper's task-oriented loss) and not on their
vectors: a softmax over the target's catalogue (`ranking`), with b_p starting at log popularity, or squared
error over the damped bias model (`rating`), b_p starting at 0. S and the I are not in the paper: factors
of the two domains have no common axes. Nor has it target rows of a cold entity: here they add a ridge of
y (a(r), or what f at u_0 leaves of the residual) on their factors,

    u_e = u_0 + strength argmin |V_e u - y|^2 + correction_damping |u|^2

with both numbers learned, as training draws the k that are to come. Zero target rows leave u_0; no row at
all leaves u_0 = 0: popularity or bias.

Yongchun Zhu, Zhenwei Tang, Yudan Liu, Fuzhen Zhuang, Ruobing Xie, Xu Zhang, Leyu Lin and Qing He (2022),
Personalized Transfer of User Preferences for Cross-domain Recommendation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.bias import DampedBias
from baselines.nn.domains import Domain, one_domain_only, signal, two_domains
from baselines.nn.inner_loop import initial
from baselines.nn.meta_training import Schedule, catalogue_softmax, counted, log_popularity, meta_train, squared_error
from baselines.nn.ridge import ridge
from benchmark.contract import Learner, Method, State, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class PTUPCDR(Method):
    factors: int = searched(32, 8, 64, log=True)
    damping: float = searched(2.0, 0.2, 50.0, log=True)  # of both factor models
    hidden: int = searched(50, 16, 128, log=True)
    correction_damping: float = 5.0  # where the learned one starts
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    unobserved: float = 0.1  # `ranking`: weight of a pair without a row
    dislike: float = 1.1  # `ranking`: what the lowest rating takes away
    weight_decay: float = 0.1
    steps: int = 300
    tasks_per_step: int = 128
    evaluate_every: int = 25
    patience: int = 4

    def unsupported(self, world: World) -> str | None:
        return one_domain_only(world)

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        bias = DampedBias.fit(world)
        source, target = two_domains(world, bias, self.factors, self.damping, self.unobserved, self.dislike, seed)
        model = _Model(self, world, bias, source, target, torch.Generator().manual_seed(seed + 2))

        def learner() -> Learner:
            with torch.no_grad():
                return _Learner(model, tuple(w.detach().clone() for w in model.net), model.b.detach().clone())

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience, self.weight_decay)
        return meta_train(model.parameters(), TaskSampler(world, seed + 3), model.loss, learner, validate, schedule, counted(world))


class _Model(nn.Module):
    def __init__(self, method: PTUPCDR, world: World, bias: DampedBias, source: Domain, target: Domain, generator: torch.Generator) -> None:
        super().__init__()
        self.method, self.world, self.bias, self.source, self.target = method, world, bias, source, target
        d = method.factors
        first, first_b, to_attention, _ = initial((d, method.hidden), generator, 0.1)
        third, third_b, *_ = initial((d, method.hidden), generator, 0.0)
        fourth = torch.randn(method.hidden, d * d, generator=generator) * 0.01
        both = (source.u.norm(dim=1) > 0) & (target.u.norm(dim=1) > 0)
        x = source.u[both].cpu()
        straight = torch.linalg.solve(x.T @ x + torch.eye(d), x.T @ target.u[both].cpu())  # where the common bridge starts
        numbers = torch.tensor([method.correction_damping, 1.0]).log()  # log damping, log strength
        weights = (first, first_b, to_attention, third, third_b, fourth, straight, numbers)
        self.net = nn.ParameterList([nn.Parameter(w.to(world.device)) for w in weights])
        self.b = nn.Parameter(log_popularity(world) if world.goal == "ranking" else torch.zeros(world.n_partners, device=world.device))

    def bridged(self, support: Support, net: tuple[Tensor, ...]) -> Tensor:
        """u_e: [T, d]."""
        first, first_b, to_attention, third, third_b, fourth, straight, numbers = net
        y = signal(self.world, self.bias, support, self.method.dislike)
        seen, _ = self.source.seen(support, y)
        shown = support.mask & self.source.inside[support.partner]
        attention = ((seen @ first + first_b).relu() @ to_attention).squeeze(2).masked_fill(~shown, -1e9).softmax(1) * shown
        c = (attention[:, None] @ seen).squeeze(1)
        own = ((c @ third + third_b).relu() @ fourth).view(-1, seen.shape[2], seen.shape[2])
        common = self.source.fold(support, y) @ straight
        start = common + (common[:, None] @ own).squeeze(1)
        damping, strength = numbers.exp()
        v, y = self.target.seen(support, y)
        if self.world.goal == "rating":
            y = y - (v @ start[:, :, None]).squeeze(2)
        return start + strength * ridge(v, y, torch.zeros_like(start), damping)

    def loss(self, episode: Episode) -> Tensor:
        u, v, asked = self.bridged(episode.support, tuple(self.net)), self.target.v, episode.query_partner
        if self.world.goal == "ranking":
            return catalogue_softmax(u @ v.T + self.b, episode, self.world)
        near = (v[asked] @ u[:, :, None]).squeeze(2) + self.b[asked]
        return squared_error(self.bias.predict(self.bias.entity(episode.support), asked) + near, episode)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    model: _Model
    net: tuple[Tensor, ...]
    b: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        model = self.model
        with torch.no_grad():
            return {"u": model.bridged(support, self.net), "entity": model.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        scores = state["u"] @ self.model.target.v.T + self.b
        if self.model.world.goal == "rating":
            scores = scores + self.model.bias.predict(state["entity"])
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return self.model.source.v.numel() + self.model.target.v.numel() + sum(w.numel() for w in self.net) + self.b.numel()
