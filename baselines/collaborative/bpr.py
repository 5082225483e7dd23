"""BPR-MF: factors that put what an entity liked above the other partners, pair by pair.

    L = sum over rows (e, i) of |a_i| mean over j of -log sigma(sign a_i (s_ei - s_ej)) + damping / 2 (sum_e |u_e|^2 + sum_p |v_p|^2)
    s_ep = u_e . v_p + b_p,   b_p = popularity * log(1 + entities that liked p)

j runs over every warm partner alike, those that e met among them. a(r) grows from 1 - dislike for the lowest rating to 1,
and where it is below 0 the pair is turned round; the paper has the liked rows alone (reading="liked"). With them and
u = 0, log n_p is what b would learn: p then wins against q in n_p / (n_p + n_q) of their pairs. So b is not learned, and
at zero shots, where u = 0, it ranks by popularity, the partners that nobody liked last.

The fit is Adam (Diederik Kingma and Jimmy Ba 2015) on batches of rows, each against partners drawn for the batch. An
entity, cold or warm, gets the u that makes her part of the same L least, v being held still, with `AGAINST` of the j:

    u <- u - H^-1 grad,   H = 1/4 sum over i of |a_i| mean over j of (v_i - v_j)(v_i - v_j)' + damping I

H bounds the curvature from above, so that no step goes too far (Dankmar Boehning and Bruce Lindsay 1988, Monotonicity
of Quadratic-Approximation Algorithms). The paper takes one pair a step, learns b, damps per pair and folds nobody in.

Steffen Rendle, Christoph Freudenthaler, Zeno Gantner and Lars Schmidt-Thieme (2009), BPR: Bayesian Personalized
Ranking from Implicit Feedback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.chunks import chunks
from baselines.nn.feedback import READINGS, feedback
from benchmark.contract import Learner, Method, State, Support, World, searched

AGAINST = 512  # partners j of the fold-in, the same for all entities


@dataclass(frozen=True)
class BPR(Method):
    factors: int = searched(64, 16, 128, log=True)
    steps: int = 2000
    rows: int = 1024  # a step
    against: int = 64  # partners j of a step
    learning_rate: float = searched(0.02, 0.005, 0.1, log=True)
    damping: float = searched(0.5, 0.05, 10.0, log=True)
    fold_steps: int = 8  # 12 move no area by more than .001
    popularity: float = searched(0.9, 0.3, 2.0)  # 1 is the least L of the liked rows alone
    reading: str = searched("taste", choices=READINGS)  # what a row counts for
    dislike: float = searched(1.1, 0.0, 2.0)  # of `taste`: what the lowest rating takes away; above 1 it speaks against its like

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        _, v, b = descend(self, world, seed)
        met = torch.bincount(world.ratings.partner, minlength=world.n_partners)
        ladder = torch.argsort(met, stable=True)[(met == 0).sum() :]
        m = min(AGAINST, len(ladder))
        # Evenly spaced from the rarest to the most met: a mean over them is nearer that over all than one over a random draw.
        against = ladder[(2 * torch.arange(m, device=ladder.device) + 1) * len(ladder) // (2 * m)]
        return _Learner(self, world, v, b, against)


def descend(method: BPR, world: World, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """u [n_entities, d], v [n_partners, d], which is 0 where the partner was never met, and b [n_partners]."""
    rows, n, device = world.ratings, world.n_entities, world.device
    a = feedback(rows.rating, world, method.reading, method.dislike)
    entity, partner, a = rows.entity[a != 0], rows.partner[a != 0], a[a != 0]
    liked = torch.bincount(rows.partner[rows.rating >= world.relevant_from], minlength=world.n_partners)
    b = method.popularity * liked.float().log1p()
    met = torch.bincount(rows.partner, minlength=world.n_partners) > 0
    warm = torch.nonzero(met).flatten()
    generator, size = torch.Generator(device).manual_seed(seed), min(method.rows, len(a))
    x = torch.randn(n + world.n_partners, method.factors, generator=generator, device=device) * 0.1  # u above v
    x.grad = torch.zeros_like(x)
    damping = method.damping * size / max(1, len(a))  # a batch's share of it
    adam = torch.optim.Adam([x], method.learning_rate, betas=(0.9, 0.99), weight_decay=damping, fused=True)
    order = torch.empty(0, dtype=torch.int64, device=device)
    for step in range(method.steps):
        if len(order) < size:
            order = torch.randperm(len(a), generator=generator, device=device)
        batch, order = order[:size], order[size:]
        j = warm[torch.randint(len(warm), (method.against,), generator=generator, device=device)]
        e, i, weight = entity[batch], partner[batch], a[batch, None]
        u, ahead, other = x[e], x[n + i], x[n + j]
        gap = ((u * ahead).sum(1) + b[i])[:, None] - torch.addmm(b[j], u, other.T)
        pull = torch.sigmoid(-weight.sign() * gap) * (weight / len(j))  # -dL/dgap: [rows, against]
        total = pull.sum(1, keepdim=True)
        x.grad.zero_()
        x.grad.index_add_(0, e, pull @ other - total * ahead)
        x.grad.index_add_(0, n + i, -total * u)
        x.grad.index_add_(0, n + j, pull.T @ u)
        adam.param_groups[0]["lr"] = method.learning_rate * (1 - step / method.steps)
        adam.step()
    return x[:n], x[n:] * met[:, None], b


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: BPR
    world: World
    v: Tensor  # [n_partners, d]
    b: Tensor  # [n_partners]
    against: Tensor  # [m]

    def adapt(self, support: Support) -> State:
        runs = chunks(len(support), 4 * support.partner.shape[1] * AGAINST, support.entity.device)  # what a step holds at once
        return {"u": torch.cat([self._fold_in(support[run]) for run in runs])}

    def _fold_in(self, support: Support) -> Tensor:
        """u of each entity: [T, d]."""
        a = feedback(support.rating, self.world, self.method.reading, self.method.dislike) * support.mask
        size, seen, other = a.abs(), self.v[support.partner], self.v[self.against]
        n, mean = size.sum(1), other.mean(0)
        # sum over i of |a_i|, mean over j, of (v_i - v_j)(v_i - v_j)', from its four products
        cross = (size[:, None] @ seen).mT * mean
        spread = (seen * size[:, :, None]).mT @ seen - cross - cross.mT + n[:, None, None] * (other.T @ other / len(other))
        eye = torch.eye(len(mean), device=mean.device)
        lower = torch.linalg.cholesky_ex(spread / 4 + self.method.damping * eye).L
        sign, share = -a.sign()[:, :, None], a[:, :, None] / len(other)
        behind = (self.b[support.partner][:, :, None] - self.b[self.against]) * sign  # -sign (b_i - b_j)
        u = torch.zeros_like(cross[:, 0])
        for _ in range(self.method.fold_steps):
            pull = torch.addcmul(behind, (seen @ u[:, :, None]) - (u @ other.T)[:, None], sign).sigmoid_().mul_(share)  # [T, K, m]
            up = (pull.sum(2)[:, None] @ seen).squeeze(1) - pull.sum(1) @ other - self.method.damping * u
            u = u + torch.cholesky_solve(up[:, :, None], lower).squeeze(2)
        return u

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        if partner is not None:
            return (self.v[partner] @ state["u"][:, :, None]).squeeze(2) + self.b[partner]
        return torch.addmm(self.b, state["u"], self.v.T)

    def parameters(self) -> int:
        return self.v.numel() + self.b.numel()
