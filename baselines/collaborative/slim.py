"""SLIM: each partner is a sparse, non-negative sum of the ones most like it, by an elastic net.

    W_j = argmin over w >= 0, 0 outside N_j, of 1/2 |x_j - X w|^2 + l2/2 |w|^2 + l1 |w|_1,      s = x W + prior * share that liked p

N_j are the `neighbours` partners nearest to j by cosine (fsSLIM; never j itself). A column of W is found by coordinate
descent on the Gram block G of N_j, and all columns descend together:

    w_i <- max(0, g_i - sum over k != i G_ik w_k - l1) / (G_ii + l2),   g_i = x_i . x_j

x is what an entity's rows count for, 0 elsewhere: a(r), which grows from 1 - dislike for the lowest rating to 1 (the
paper has ones, or ratings). At zero shots x = 0, and popularity is left, which the paper lacks.

Xia Ning and George Karypis (2011), SLIM: Sparse Linear Methods for Top-N Recommender Systems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.nn.feedback import READINGS, feedback, liked_share
from baselines.nn.sparse_rows import SparseRows
from benchmark.contract import Learner, Method, State, Support, World, searched

TARGETS_AT_ONCE = 512  # columns of W that descend together: their Gram blocks are what is held


@dataclass(frozen=True)
class SLIM(Method):
    neighbours: int = searched(100, 20, 200, log=True)
    l1: float = searched(1.0, 0.01, 50.0, log=True)
    l2: float = searched(1000.0, 1.0, 10000.0, log=True)
    sweeps: int = 15
    prior: float = searched(0.08, 0.01, 2.0, log=True)  # weight of popularity
    reading: str = searched("taste", choices=READINGS)  # what a row counts for
    dislike: float = searched(1.1, 0.0, 2.0)  # of `taste`: what the lowest rating takes away

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        rows = world.ratings
        value = feedback(rows.rating, world, self.reading, self.dislike)
        x = torch.zeros(world.n_entities, world.n_partners, device=world.device)
        x[rows.entity, rows.partner] = value
        by_partner = SparseRows.of(rows.partner, rows.entity, world.n_partners)
        gram = by_partner.times(x, value[by_partner.order])
        target = torch.arange(world.n_partners, device=world.device)
        parts = [self._columns(gram, some, min(self.neighbours, world.n_partners - 1)) for some in target.split(TARGETS_AT_ONCE)]
        target, index, w = (torch.cat(part) for part in zip(*parts, strict=True))
        columns = SparseRows.of(target, index, world.n_partners)
        return _Learner(self, world, columns, w[columns.order], self.prior * liked_share(world))

    def _columns(self, gram: Tensor, target: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """The cells of W in the columns of `target`: column, row and weight, each [cells]."""
        norm = gram.diagonal().clamp(min=1e-12).sqrt()
        like = gram[target] / norm  # a cosine but for the target's own length, which orders nothing
        index = like.scatter_(1, target[:, None], -torch.inf).topk(n, 1).indices
        g = gram[target[:, None], index]
        able = (g > self.l1).any(1)  # the others' best w is 0 throughout
        target, index, g = target[able], index[able], g[able]
        w = descend(gram[index.T[:, :, None], index], g, self.l1, self.l2, self.sweeps)
        kept = w > 0
        return target[:, None].expand_as(index)[kept], index[kept], w[kept]


def descend(blocks: Tensor, g: Tensor, l1: float, l2: float, sweeps: int) -> Tensor:
    """w [J, n] of the J elastic nets with Gram blocks [n, J, n] and right sides g [J, n]."""
    w, left = torch.zeros_like(g), g.clone()  # left = g - G w
    own = blocks.diagonal(dim1=0, dim2=2)  # [J, n]
    for i in list(range(len(blocks))) * sweeps:
        new = ((left[:, i] + own[:, i] * w[:, i] - l1) / (own[:, i] + l2)).clamp(min=0)
        left.addcmul_(blocks[i], (w[:, i] - new)[:, None])
        w[:, i] = new
    return w


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: SLIM
    world: World
    columns: SparseRows  # the columns of W, as rows
    w: Tensor  # [cells], in the order of the columns
    prior: Tensor  # [n_partners]

    def adapt(self, support: Support) -> State:
        """Each entity keeps her rows as (partner, x): 12 bytes a row."""
        x = feedback(support.rating, self.world, self.method.reading, self.method.dislike)
        return {"partner": support.partner, "x": x * support.mask}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        x = torch.zeros(len(state["x"]), len(self.prior), device=self.prior.device)
        scores = self.columns.times(x.scatter_add_(1, state["partner"], state["x"]).T.contiguous(), self.w).T + self.prior
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return len(self.w)
