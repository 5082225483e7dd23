"""SVD++: biased factors, and an entity told also by what she chose to rate.

    r_hat(e, p) = mu + b_e + b_p + q_p . (p_e + |N(e)|^-1/2 sum over j in N(e) of y_j)

over her rated partners N(e), by stochastic gradient descent on the squared error of ratings, each rating decaying
what it touches:

    b += rate (err - decay b),  p_e += rate (err q_p - decay p_e),  q_p += rate (err (p_e + ...) - decay q_p),
    y_j += rate (err q_p / sqrt |N(e)| - decay y_j)  for all j in N(e)

`implicit=False` leaves y out: Funk's SVD with biases. The papers take one rating after the other; here `batches`
random parts of the ratings make an epoch, the steps of a part's n ratings on a number are summed, and its decay is
exact: (1 - rate decay)^n (y, which feels thousands of ratings a part, takes its steps along that decay). A warm
entity keeps what was learned. A cold one's b_e is the damped bias model's, and her vector p_e + ... a ridge on her
rows, drawn towards the mean p plus her sum of y, which is itself drawn towards its mean while she has shown little.
At zero shots it is mu + b_p + q_p . the mean vector.

Yehuda Koren (2008), Factorization Meets the Neighborhood: A Multifaceted Collaborative Filtering Model; Simon Funk
(2006), Netflix Update: Try This at Home.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.ridge import ridge
from baselines.nn.sparse_rows import SparseRows, support_times
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class SVDpp(Method):
    implicit: bool = True
    factors: int = searched(20, 10, 100, log=True)
    epochs: int = searched(20, 5, 60, log=True)
    learning_rate: float = searched(0.007, 0.001, 0.02, log=True)
    decay: float = searched(0.02, 0.005, 0.2, log=True)
    scale: float = 0.1  # of the first factors
    batches: int = 200  # on ML-1M 64 cost .01 of RMSE where y is learned
    entity_damping: float = 5.0  # of a cold entity's bias
    damping: float = searched(3.0, 0.3, 30.0, log=True)  # of a cold entity's ridge

    def unsupported(self, world: World) -> str | None:
        return "it predicts ratings of what is rated, and ranks no catalogue" if world.goal == "ranking" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        generator, rows, rate = torch.Generator().manual_seed(seed), world.ratings, self.learning_rate

        def drawn(n: int) -> Tensor:
            return (torch.randn(n, self.factors, generator=generator) * self.scale).to(world.device)

        p, q, y = drawn(world.n_entities), drawn(world.n_partners), drawn(world.n_partners) * self.implicit
        b_e, b_p = torch.zeros(world.n_entities, device=world.device), torch.zeros(world.n_partners, device=world.device)
        mean = rows.rating.double().mean().float()
        chosen = SparseRows.of(rows.entity, rows.partner, world.n_entities)
        choosers = SparseRows.of(rows.partner, rows.entity, world.n_partners)
        root = chosen.count().clamp(min=1).float().rsqrt()[:, None]
        order = torch.randperm(len(rows), generator=generator).to(world.device)
        parts = [
            _Part(world, part, 1 - rate * self.decay, choosers if self.implicit else None) for part in order.tensor_split(self.batches)
        ]
        for part in parts * self.epochs:
            whole = p + chosen.times(y) * root if self.implicit else p
            err = part.rating - mean - b_e[part.entity] - b_p[part.partner] - part.of_entity.dots(whole, q)
            by_partner = err[part.turn]
            towards = part.of_entity.times(q, err)  # sum of err q_p of each entity
            q = q * part.left_p + rate * part.of_partner.times(whole, by_partner)
            p = p * part.left_e + rate * towards
            b_e = b_e * part.left_e[:, 0] + rate * torch.zeros_like(b_e).index_add_(0, part.entity, err)
            b_p = b_p * part.left_p[:, 0] + rate * torch.zeros_like(b_p).index_add_(0, part.partner, err)
            if self.implicit:
                y = y * part.left_y + rate * part.along_y * choosers.times(towards * root)
        warm = chosen.count() > 0
        return _Learner(self, world, mean, b_e, b_p, p, q, y, warm, p[warm].mean(0), (chosen.times(y) * root)[warm].mean(0))


class _Part:
    """One part of the ratings, grouped both ways, and what it leaves of each number."""

    def __init__(self, world: World, part: Tensor, keep: float, choosers: SparseRows | None) -> None:
        rows = world.ratings
        part = part.sort().values  # by entity, as the rows are
        self.entity, self.partner, self.rating = rows.entity[part], rows.partner[part], rows.rating[part]
        self.of_entity = SparseRows.of(self.entity, self.partner, world.n_entities)
        self.of_partner = SparseRows.of(self.partner, self.entity, world.n_partners)
        self.turn = self.of_partner.order
        n_e, n_p = self.of_entity.count().float()[:, None], self.of_partner.count().float()[:, None]
        self.left_e, self.left_p = keep**n_e, keep**n_p
        if choosers is not None:
            n_y = choosers.times(n_e).clamp(min=1e-9)  # ratings of this part by those who chose j
            self.left_y = keep**n_y
            # steps spread evenly over the decay; without one they stay whole
            self.along_y = (1 - self.left_y) / ((1 - keep) * n_y) if keep < 1 else torch.ones_like(n_y)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: SVDpp
    world: World
    mean: Tensor  # []
    b_e: Tensor  # [n_entities]
    b_p: Tensor  # [n_partners]
    p: Tensor  # [n_entities, d]
    q: Tensor  # [n_partners, d]
    y: Tensor  # [n_partners, d]
    warm: Tensor  # [n_entities] bool
    mean_p: Tensor  # [d], over the warm entities
    mean_implied: Tensor  # [d], of their sums of y

    def adapt(self, support: Support) -> State:
        method, shown, count = self.method, support.mask, support.count()[:, None]
        implied = support_times(support.partner, shown / count.clamp(min=1).sqrt(), self.y)
        trust = count / (count + method.entity_damping)
        before = (
            self.mean_p + self.mean_implied + trust * (implied - self.mean_implied)
        )  # what is thought of her vector until rows say more
        left = (support.rating - self.mean - self.b_p[support.partner]) * shown
        b = trust * left.sum(1, keepdim=True) / count.clamp(min=1)
        seen = self.q[support.partner] * shown[:, :, None]
        cold = ridge(seen, (left - b) * shown, before, method.damping)
        warm = self.warm[support.entity, None]
        vector = torch.where(warm, self.p[support.entity] + implied, cold)
        return {"vector": vector, "b": torch.where(warm, self.b_e[support.entity, None], b)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        base = self.mean + state["b"]
        if partner is not None:
            return base + self.b_p[partner] + (self.q[partner] @ state["vector"][:, :, None]).squeeze(2)
        return base + torch.addmm(self.b_p, state["vector"], self.q.T)

    def parameters(self) -> int:
        return sum(part.numel() for part in (self.b_e, self.b_p, self.p, self.q)) + self.y.numel() * self.method.implicit
