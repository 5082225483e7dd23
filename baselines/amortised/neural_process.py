"""Task-adaptive neural process (TaNP): a support is encoded into a latent vector and into a decoder.

Each support row i = (z_j, x_e, y_j), with the partner's embedding, the entity's features and the
label (a(r), or the residual over the damped bias model), is encoded twice:

    r_e = sum_i h(i) / (k + 1),   v_e ~ N(mu(r_e), sigma(r_e))       what the entity's function is
    t_e = sum_i m(i) / (k + 1),   c_ej ~ 1 / (1 + |t_e - A_j|^2)     which kind of task it is
    o_e = t_e + sum_j c_ej A_j                                       softened towards a learned pool A
    f(e, p) = w . relu(gamma_e * (z_p W) + x_e X + v_e V + beta_e) + b_p,   gamma_e, beta_e linear in o_e

Trained by the evidence bound: -log p(query | v) with v drawn from q(v | support and query), plus
kl * KL(q(v | support and query) || q(v | support)), plus cluster * KL(sharpened c || c). At a test v_e
is its mean given the support. At zero shots r_e and t_e are zero, and v_e the learned prior's mean.
-log p is a softmax over drawn candidates (`ranking`) or a squared error (`rating`).

Xixun Lin, Jia Wu, Chuan Zhou, Shirui Pan, Yanan Cao and Bin Wang (2021), Task-adaptive Neural Process
for User Cold-Start Recommendation; Marta Garnelo et al. (2018), Neural Processes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import adapted_in_runs, chunks
from baselines.nn.features import PartnerEncoder, design_matrix
from baselines.nn.meta_training import Negatives, Schedule, log_popularity, meta_train, squared_error
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class NeuralProcess(Method):
    width: int = searched(32, 8, 128, log=True)
    hidden: int = searched(32, 16, 64, log=True)
    latent: int = 32
    pool: int = 8  # learned kinds of tasks
    kl: float = searched(0.1, 0.001, 1.0, log=True)
    cluster: float = searched(0.1, 0.001, 1.0, log=True)
    scale: float = searched(0.3, 0.03, 1.0, log=True)
    negatives: int = 512  # `ranking`: candidates a training step compares with
    steps: int = 400
    tasks_per_step: int = 128
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    evaluate_every: int = 50
    patience: int = 3

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = _Model(self, world, seed)

        def learner() -> Learner:
            with torch.no_grad():
                frozen = copy.deepcopy(model).requires_grad_(False)
                return _Learner(frozen, frozen.encoder(), sum(p.numel() for p in model.parameters()))

        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        return meta_train(model.parameters(), TaskSampler(world, seed), model.loss, learner, validate, schedule)


@dataclass(frozen=True, eq=False)
class Encoded:
    """What is kept of T tasks."""

    mean: Tensor  # [T, latent] of v
    log_sigma: Tensor  # [T, latent]
    gamma: Tensor  # [T, hidden]
    beta: Tensor  # [T, hidden], with what the entity's features say
    kind: Tensor  # [T, pool] c


class _Model(nn.Module):
    def __init__(self, method: NeuralProcess, world: World, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.method, self.world, self.bias = method, world, DampedBias.fit(world)
        self.encoder = PartnerEncoder(world, method.width, method.scale, generator)
        self.known = design_matrix(world.entity_features)
        self.negatives, self.luck = Negatives(world, method.negatives, seed), torch.Generator(world.device).manual_seed(seed)
        device, hidden, width, latent = world.device, method.hidden, method.width, method.latent

        def drawn(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter((torch.randn(rows, columns, generator=generator) * gain / max(1, rows) ** 0.5).to(device))

        row = 2 * width + 1 + self.known.shape[1]
        self.h1, self.h2 = drawn(row, hidden, 1.4), drawn(hidden, hidden)
        self.m1, self.m2 = drawn(row, hidden, 1.4), drawn(hidden, hidden)
        self.latent = drawn(hidden, 2 * latent, 0.5)
        self.latent_b = nn.Parameter(torch.zeros(2 * latent, device=device))
        self.kinds = drawn(method.pool, hidden, method.pool**0.5)
        self.film = drawn(hidden, 2 * hidden, 0.3)
        self.first, self.own, self.read = drawn(width, hidden, 1.4), drawn(self.known.shape[1], hidden), drawn(latent, hidden)
        self.last = drawn(hidden, 1)
        ranks = world.goal == "ranking"
        self.b = nn.Parameter(log_popularity(world) if ranks else torch.zeros(world.n_partners, device=device))

    def label(self, rating: Tensor, partner: Tensor, entity: Tensor) -> Tensor:
        """y of rows [T, N]: a(r), or the residual over the bias model given b_e [T, 1]."""
        if self.world.goal == "ranking":
            return taste(rating, self.world, 1.0)
        return rating - self.bias.predict(entity, partner)

    def encode(self, z: Tensor, entity: Tensor, partner: Tensor, y: Tensor, mask: Tensor) -> Encoded:
        """Both encodings of rows [T, N]."""
        seen, known = z[partner], self.known[entity]
        x = torch.cat([seen, seen * y[:, :, None], y[:, :, None], known[:, None].expand(-1, partner.shape[1], -1)], 2)
        n = mask.sum(1, keepdim=True) + 1.0
        r, t = (((x @ one).relu() * mask[:, :, None]).sum(1) / n @ two for one, two in ((self.h1, self.h2), (self.m1, self.m2)))
        mean, log_sigma = (r @ self.latent + self.latent_b).chunk(2, 1)
        near = 1 / (1 + torch.cdist(t, self.kinds).square())
        kind = near / near.sum(1, keepdim=True)
        gamma, beta = ((t + kind @ self.kinds) @ self.film).chunk(2, 1)
        return Encoded(mean, log_sigma.clamp(-5, 2), 1 + gamma, beta + known @ self.own, kind)

    def decode(self, hidden: Tensor, gamma: Tensor, offset: Tensor, b: Tensor) -> Tensor:
        """f: [T, C] of z W rows [C, hidden], or [T, C, hidden]."""
        return ((gamma[:, None] * hidden + offset[:, None]).relu() @ self.last).squeeze(2) + b

    def loss(self, episode: Episode) -> Tensor:
        z, support, asked = self.encoder(), episode.support, episode.query_partner
        entity = self.bias.entity(support)
        y = self.label(support.rating, support.partner, entity) * support.mask
        prior = self.encode(z, support.entity, support.partner, y, support.mask)
        both = self.encode(
            z,
            support.entity,
            torch.cat([support.partner, asked], 1),
            torch.cat([y, self.label(episode.query_rating, asked, entity) * episode.query_mask], 1),
            torch.cat([support.mask, episode.query_mask], 1),
        )
        noise = torch.randn(both.mean.shape, generator=self.luck, device=z.device)
        offset = prior.beta + (both.mean + both.log_sigma.exp() * noise) @ self.read
        hidden = z @ self.first
        near = self.decode(hidden[asked], prior.gamma, offset, self.b[asked])
        if self.world.goal == "ranking":
            drawn = self.negatives.draw()
            fit = self.negatives.softmax(drawn, self.decode(hidden[drawn], prior.gamma, offset, self.b[drawn]), near, episode)
        else:
            fit = squared_error(self.bias.predict(entity, asked) + near, episode)
        return fit + self.method.kl * divergence(both, prior) + self.method.cluster * sharpness(prior.kind)


def divergence(q: Encoded, p: Encoded) -> Tensor:
    """KL(q(v) || p(v)), mean over tasks."""
    ratio = (2 * (q.log_sigma - p.log_sigma)).exp() + ((q.mean - p.mean) / p.log_sigma.exp()).square()
    return (ratio / 2 - 0.5 - (q.log_sigma - p.log_sigma)).sum(1).mean()


def sharpness(kind: Tensor) -> Tensor:
    """KL of c sharpened (c^2 over its column's sum, made a distribution) from c [T, pool], mean over tasks."""
    target = kind.square() / kind.sum(0)
    target = (target / target.sum(1, keepdim=True)).detach()
    return (target * (target / kind).log()).sum(1).mean()


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    model: _Model
    z: Tensor
    n_parameters: int

    def adapt(self, support: Support) -> State:
        return adapted_in_runs(self._adapt, support, 4 * self.model.method.hidden)

    def _adapt(self, support: Support) -> State:
        with torch.no_grad():
            entity = self.model.bias.entity(support)
            y = self.model.label(support.rating, support.partner, entity) * support.mask
            one = self.model.encode(self.z, support.entity, support.partner, y, support.mask)
            return {"gamma": one.gamma, "offset": one.beta + one.mean @ self.model.read, "entity": entity}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            hidden = self.z @ self.model.first
            columns = len(hidden) if partner is None else partner.shape[1]
            parts = []
            for part in chunks(len(state["gamma"]), columns * hidden.shape[1], hidden.device):
                rows = hidden if partner is None else hidden[partner[part]]
                b = self.model.b if partner is None else self.model.b[partner[part]]
                parts.append(self.model.decode(rows, state["gamma"][part], state["offset"][part], b))
            scores = torch.cat(parts)
            return scores if self.model.world.goal == "ranking" else scores + self.model.bias.predict(state["entity"], partner)

    def parameters(self) -> int:
        return self.n_parameters
