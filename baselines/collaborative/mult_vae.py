"""Mult-VAE: a network reads a history as a set and says what else is in it, by a multinomial likelihood.

    h = tanh(sum_j t_j x_j W_j / sqrt(|x|^2 + damping) + c),   z ~ N(m(h), s(h)^2),   log pi = log softmax(V tanh(D z + d) + b)
    L = - sum_p y_p log pi_p / sum y + anneal * KL(N(m, s^2) | N(0, 1)),   anneal rising in a line to `kl`

y are the rows that an entity liked, x a part of her rows that stays after dropout: half of all, as in the paper, or,
for half of each batch, about k of them, with k drawn from the shots to come: few shots need that, and it departs from
the paper. So does x_j = a(r_j), which grows from 1 - dislike for the lowest rating to 1 (there, 1 for the liked); a
network width that fits one core; the damping; t_j = n_j / (n_j + partner_damping) of a partner with n_j warm rows;
and b, which starts at log popularity, so that an empty history (x = 0) starts as popularity. Scores are V tanh(D m) +
b, with the mean m of z. A cold entity is encoded from her support, and so is a warm one.

Dawen Liang, Rahul Krishnan, Matthew Hoffman and Tony Jebara (2018), Variational Autoencoders for Collaborative
Filtering.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.nn.feedback import READINGS, feedback
from baselines.nn.meta_training import log_popularity
from baselines.nn.sparse_rows import SparseRows, support_times
from baselines.nn.thinned_histories import ThinnedHistories
from benchmark.contract import Learner, Method, State, Support, World, searched


@dataclass(frozen=True)
class MultVAE(Method):
    hidden: int = searched(128, 32, 400, log=True)
    latent: int = searched(32, 16, 200, log=True)
    kl: float = searched(0.02, 0.0, 0.2)  # of a mean over the likes: the paper sums over them
    damping: float = searched(0.5, 0.1, 10.0, log=True)  # lets a short history speak softly
    partner_damping: float = searched(10.0, 0.0, 100.0)  # quietens partners whom few have met: they would be learned by heart
    dropout: float = 0.5
    epochs: int = 40
    entities_per_step: int = 256
    learning_rate: float = searched(0.006, 0.0005, 0.02, log=True)
    weight_decay: float = 0.2
    anneal_epochs: int = 20
    patience: int = 10  # epochs without a better one before stopping
    reading: str = searched("taste", choices=READINGS)  # what a row counts for
    dislike: float = searched(1.1, 0.0, 2.0)  # of `taste`: what the lowest rating takes away

    def unsupported(self, world: World) -> str | None:
        return "it predicts no rating" if world.goal == "rating" else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        generator = torch.Generator(world.device).manual_seed(seed)
        model = _Model(self, world, torch.Generator().manual_seed(seed))
        histories = ThinnedHistories(world, feedback(world.ratings.rating, world, self.reading, self.dislike), 1 - self.dropout, generator)
        optimiser = torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        best, best_score, since = _Learner.of(self, world, model), -math.inf, 0
        for epoch in range(self.epochs):
            anneal = self.kl * min(1.0, epoch / max(1, self.anneal_epochs))
            for entity in histories.shuffled().split(max(16, min(self.entities_per_step, histories.n_able // 8))):
                optimiser.zero_grad()
                rows, x, y = histories.draw(entity)
                m, log_s = model.encode(rows, x)
                z = m + log_s.exp() * torch.randn(m.shape, generator=generator, device=m.device)
                log_pi = functional.log_softmax(model.decode(z), 1)
                kl = 0.5 * (m.square() + (2 * log_s).exp() - 2 * log_s - 1).sum(1)
                (anneal * kl - (log_pi * y).sum(1)).mean().backward()
                optimiser.step()
            one = _Learner.of(self, world, model)
            score = validate(one)
            best, best_score, since = (one, score, 0) if score > best_score else (best, best_score, since + 1)
            if since >= self.patience:
                break
        return best


class _Model(nn.Module):
    trust: Tensor  # [n_partners, 1]

    def __init__(self, method: MultVAE, world: World, generator: torch.Generator) -> None:
        super().__init__()

        def drawn(rows: int, columns: int, scale: float) -> nn.Parameter:
            return nn.Parameter((torch.randn(rows, columns, generator=generator) * scale).to(world.device))

        hidden, latent, self.damping = method.hidden, method.latent, method.damping
        self.first, self.last = drawn(world.n_partners, hidden, 0.1), drawn(world.n_partners, hidden, 0.05)
        self.middle, self.up = drawn(hidden, 2 * latent, hidden**-0.5), drawn(latent, hidden, latent**-0.5)
        self.first_b, self.up_b = (nn.Parameter(torch.zeros(hidden, device=world.device)) for _ in range(2))
        self.middle_b = nn.Parameter(torch.cat([torch.zeros(latent), torch.full((latent,), -2.0)]).to(world.device))
        self.b = nn.Parameter(log_popularity(world))
        met = torch.bincount(world.ratings.partner, minlength=world.n_partners).float()[:, None]
        self.register_buffer("trust", met / (met + method.partner_damping))

    def encode(self, rows: SparseRows, x: Tensor) -> tuple[Tensor, Tensor]:
        """m and log s, [B, latent] both; x in the order of the rows."""
        return self.code(rows.times(self.table(), x), rows.times(x.new_ones(len(self.first), 1), x.square()))

    def table(self) -> Tensor:
        """t_j W_j: [n_partners, hidden]."""
        return self.first * self.trust

    def code(self, total: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(total / (square + self.damping).sqrt() + self.first_b)
        m, log_s = (h @ self.middle + self.middle_b).chunk(2, 1)
        return m, log_s

    def decode(self, z: Tensor) -> Tensor:
        """[B, n_partners]."""
        return torch.addmm(self.b, torch.tanh(z @ self.up + self.up_b), self.last.T)


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    method: MultVAE
    world: World
    model: _Model

    @classmethod
    def of(cls, method: MultVAE, world: World, model: _Model) -> _Learner:
        """A learner of the weights as they are, a copy."""
        return cls(method, world, copy.deepcopy(model).requires_grad_(False))

    def adapt(self, support: Support) -> State:
        x = feedback(support.rating, self.world, self.method.reading, self.method.dislike) * support.mask
        total = support_times(support.partner, x, self.model.table())
        m, _ = self.model.code(total, x.square().sum(1, keepdim=True))
        return {"h": torch.tanh(m @ self.model.up + self.model.up_b)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        scores = torch.addmm(self.model.b, state["h"], self.model.last.T)
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())
