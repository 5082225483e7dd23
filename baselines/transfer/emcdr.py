"""EMCDR: an entity's vector in the source domain is mapped to where she would stand in the target.

A factor model of each domain gives warm entities u^s_e and u^t_e (`baselines.nn.domains`). From those met in both,

    M = argmin sum_e |(1, u^s_e) M - u^t_e|^2 + mapping_damping |M|^2

A cold entity's source rows are folded in, mapped, and corrected by what she has shown of the target,

    u_0 = (1, u^s) M,   u_e = argmin |V_e u - y|^2 + correction_damping |u - u_0|^2

`ranking`: y = a(r), s(p) = u_e . v_p + prior * share of warm entities that liked p
`rating`: y is the residual of the damped bias model, r_hat(e, p) = mu + b_e + b_p + u_e . v_p

The map is the paper's linear one, in closed form; its other is a small network. The correction is not in
the paper, whose entities have no target row. Zero target rows leave u_0; no row at all, what M makes of u^s = 0.

Tong Man, Huawei Shen, Xiaolong Jin and Xueqi Cheng (2017), Cross-Domain Recommendation: An Embedding and Mapping Approach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from baselines.nn.bias import DampedBias
from baselines.nn.domains import Domain, one_domain_only, signal, two_domains
from baselines.nn.ridge import ridge
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class EMCDR(Method):
    factors: int = searched(32, 8, 64, log=True)
    damping: float = searched(2.0, 0.2, 50.0, log=True)  # of both factor models
    mapping_damping: float = searched(1.0, 0.01, 100.0, log=True)
    correction_damping: float = searched(5.0, 0.1, 100.0, log=True)
    prior: float = searched(0.3, 0.03, 3.0, log=True)  # `ranking`: weight of popularity
    unobserved: float = 0.1  # `ranking`: weight of a pair without a row
    dislike: float = 1.1  # `ranking`: what the lowest rating takes away

    def unsupported(self, world: World) -> str | None:
        return one_domain_only(world)

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        bias = DampedBias.fit(world)
        source, target = two_domains(world, bias, self.factors, self.damping, self.unobserved, self.dislike, seed)
        met = torch.bincount(source.rows.entity, minlength=world.n_entities).clamp(max=1)
        both = met * torch.bincount(target.rows.entity, minlength=world.n_entities) > 0
        x = functional.pad(source.u[both], (1, 0), value=1.0)
        gram = x.T @ x + self.mapping_damping * torch.eye(x.shape[1], device=x.device)
        mapping = torch.linalg.solve(gram, x.T @ target.u[both])
        liked = target.rows.partner[target.rows.rating >= world.relevant_from]
        share = torch.bincount(liked, minlength=world.n_partners).float() / target.rows.entity.unique().numel()
        return _Learner(self, world, bias, source, target, mapping, self.prior * share)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: EMCDR
    world: World
    bias: DampedBias
    source: Domain
    target: Domain
    mapping: Tensor  # [1 + d, d]
    prior: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        y = signal(self.world, self.bias, support, self.method.dislike)
        start = functional.pad(self.source.fold(support, y), (1, 0), value=1.0) @ self.mapping
        return {"u": ridge(*self.target.seen(support, y), start, self.method.correction_damping), "entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        base = self.prior if self.world.goal == "ranking" else self.bias.predict(state["entity"])
        scores = state["u"] @ self.target.v.T + base
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return self.source.v.numel() + self.target.v.numel() + self.mapping.numel() + self.prior.numel()
