"""What gradient meta-learners share: partners as vectors, a network to adapt, its losses, its learner.

    f(e, p) = net(z_p; phi_e) + b_p

z_p is a partner's embedding, phi_e the weights adapted to e from theta, b_p a partner's offset.

`ranking`: inner loss logistic in net(z_p; phi) alone (to have rated a popular partner is no sign of
taste), its label a(r) on a line from 1 - dislike for the lowest rating to 1 for the highest; outer
loss a softmax of f over the catalogue (with `negatives`, over so many drawn candidates); b_p starts
at log popularity.
`rating`: both losses squared errors of f, the residual over the damped bias model; b_p starts at 0.

The embeddings and b are slow: an inner step can only move the rows that the support touches, and
those are never asked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import adapted_in_runs, chunks
from baselines.nn.features import PartnerEncoder
from baselines.nn.inner_loop import Adapted, Weights, body, forward, initial, whole
from baselines.nn.inner_weight import inner_weight
from baselines.nn.meta_training import (
    Counted,
    Negatives,
    Schedule,
    catalogue_softmax,
    counted,
    log_popularity,
    meta_train,
    squared_error,
)
from baselines.nn.taste import taste
from benchmark.contract import Learner, Method, State, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Every learned number at one moment."""

    z: Tensor  # [n_partners, width]
    theta: Weights
    rates: tuple[Tensor, ...]  # learned inner rates, if the method learns them
    b: Tensor  # [n_partners]
    y: Tensor  # [n_entities, own width] what is known of an entity beside her support; width 0 where nothing is read


class GradientModel(nn.Module):
    """The learned numbers and the two losses."""

    kinds: tuple[Tensor, Tensor] | None = None  # where content decides all but b_p: `alike` of the partners

    def __init__(self, world: World, method: GradientMethod, seed: int, encoder: nn.Module | None = None, width: int = 0) -> None:
        """`encoder` makes the partners' table and `width` is what the network reads, where they are not the usual ones."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.world, self.method = world, method
        self.bias = DampedBias.fit(world)
        self.encoder = encoder or PartnerEncoder(world, method.width, method.scale, generator)
        self.negatives = Negatives(world, method.negatives, seed) if method.negatives else None
        start = initial((width or method.width, *method.hidden), generator, method.scale)
        self.theta = nn.ParameterList([nn.Parameter(w.to(world.device)) for w in start])
        self.rates = nn.ParameterList()
        ranks = world.goal == "ranking"
        self.b = nn.Parameter(log_popularity(world) if ranks else torch.zeros(world.n_partners, device=world.device))

    def now(self, entity: Tensor | None = None) -> Snapshot:
        """The numbers as they are, attached to the graph; `y` of every entity, or of those named."""
        return Snapshot(self.encoder(), tuple(self.theta), tuple(self.rates), self.b, self.entities(entity))

    def entities(self, entity: Tensor | None = None) -> Tensor:
        """What the network reads of an entity beside her support: nothing, unless a method says otherwise."""
        return self.b.new_zeros(self.world.n_entities if entity is None else len(entity), 0)

    def frozen(self) -> Snapshot:
        """A copy of the numbers, for a learner to keep."""
        with torch.no_grad():
            one = self.now()
            theta, rates = (tuple(w.clone() for w in part) for part in (one.theta, one.rates))
            return Snapshot(one.z.clone(), theta, rates, one.b.clone(), one.y.clone())

    def wrong(self, one: Snapshot, support: Support) -> Callable[[Tensor], Tensor]:
        """d L / d f of the inner loss, summed over the support's rows: [T, K] -> [T, K]."""
        weight = inner_weight(support, self.world)
        if self.world.goal == "ranking":
            label = taste(support.rating, self.world, self.method.dislike)
            return lambda f: (f.sigmoid() - label) * weight
        left = self.bias.residual(support) - self.bias.entity(support) - one.b[support.partner]
        return lambda f: (f - left) * weight

    def outer_loss(self, one: Snapshot, phi: Adapted, episode: Episode) -> Tensor:
        """The loss of the adapted weights on the query."""
        if self.world.goal == "ranking" and self.negatives is None:
            return catalogue_softmax(forward(phi, one.z)[0] + one.b, episode, self.world)
        near = forward(phi, one.z[episode.query_partner])[0] + one.b[episode.query_partner]
        if self.world.goal == "ranking":
            drawn = self.negatives.draw()
            return self.negatives.softmax(drawn, forward(phi, one.z[drawn])[0] + one.b[drawn], near, episode)
        base = self.bias.predict(self.bias.entity(episode.support), episode.query_partner)
        return squared_error(base + near, episode)


Adapt = Callable[[Snapshot, Support], Adapted]


@dataclass(frozen=True, eq=False)
class GradientLearner(Learner):
    """A fitted gradient method: `rule` makes phi of a snapshot and a support."""

    model: GradientModel
    one: Snapshot
    rule: Adapt

    def adapt(self, support: Support) -> State:
        """phi, where it differs from theta, and b_e."""
        return adapted_in_runs(self._adapt, support, max(self.one.z.shape[1], *self.model.method.hidden, 1))

    def _adapt(self, support: Support) -> State:
        with torch.no_grad():
            phi = whole(self.rule(self.one, support))
        own = {f"phi_{i}": w for i, (w, t) in enumerate(zip(phi, self.one.theta, strict=True)) if w is not t}
        return {**{name: w.expand(len(support), -1, -1) for name, w in own.items()}, "entity": self.model.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            tasks = len(state["entity"])
            first = next((i for i in range(len(self.one.theta)) if f"phi_{i}" in state), len(self.one.theta) - 2)
            first -= first % 2  # a layer is a matrix and its offset, even where the offset alone is adapted
            z = body(self.one.theta[:first], self.one.z)[-1]  # the layers that all tasks share
            deep = first < len(self.one.theta) - 2
            if partner is None or not deep:  # a linear head scores the catalogue in one product
                kinds, kind = self.model.kinds or (None, None)
                z = z if kinds is None else z[kinds]
                f = self._by_chunks(state, first, lambda _: z, tasks, len(z))
                scores = (f if kind is None else f[:, kind]) + self.one.b
                scores = scores if partner is None else scores.gather(1, partner)
            else:
                scores = self._by_chunks(state, first, lambda part: z[partner[part]], tasks, partner.shape[1]) + self.one.b[partner]
            return scores if self.model.world.goal == "ranking" else scores + self.model.bias.predict(state["entity"], partner)

    def _by_chunks(self, state: State, first: int, inputs: Callable[[slice], Tensor], tasks: int, columns: int) -> Tensor:
        """net(inputs; phi) for so many tasks at once that their activations fit."""
        widest = max((1, *self.model.method.hidden[first // 2 :]))
        found = []
        for part in chunks(tasks, columns * widest, self.one.z.device):
            phi = tuple(state[f"phi_{i}"][part] if f"phi_{i}" in state else self.one.theta[i] for i in range(first, len(self.one.theta)))
            found.append(forward(phi, inputs(part))[0].expand(len(state["entity"][part]), -1))
        return torch.cat(found)

    def parameters(self) -> int:
        return sum(w.numel() for w in self.model.parameters())


@dataclass(frozen=True)
class GradientMethod(Method):
    """The hyperparameters and the fit that gradient methods share; each brings its rule."""

    width: int = searched(32, 8, 128, log=True)
    hidden: tuple[int, ...] = ()
    inner_steps: int = searched(3, 1, 6)
    inner_rate: float = searched(0.1, 0.01, 1.0, log=True)  # `ranking`
    rating_inner_rate: float = searched(0.02, 0.002, 0.2, log=True)  # `rating`, whose errors are larger than a probability's
    dislike: float = searched(0.8, 0.0, 2.0)  # `ranking`: the inner label is 1 for the highest rating and 1 - dislike for the lowest
    scale: float = searched(0.1, 0.03, 1.0, log=True)  # of the embeddings at the start
    negatives: int = 0  # `ranking`: candidates that an outer step compares with; 0 is the whole catalogue
    steps: int = 400
    tasks_per_step: int = 256
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    evaluate_every: int = 25
    patience: int = 4

    def model(self, world: World, seed: int) -> GradientModel:
        """The numbers to learn."""
        return GradientModel(world, self, seed)

    @abstractmethod
    def rule(self, model: GradientModel) -> Adapt:
        """How phi comes from a snapshot and a support."""

    def loss(self, model: GradientModel, rule: Adapt, episode: Episode) -> Tensor:
        """What is meta-trained: the outer loss of the adapted weights."""
        one = model.now()
        return model.outer_loss(one, rule(one, episode.support), episode)

    def counted(self, world: World) -> Counted | None:
        """Of how many tasks `loss` is the mean, if it is one."""
        return counted(world, drawn=self.negatives > 0)

    def rate(self, world: World) -> float:
        return self.inner_rate if world.goal == "ranking" else self.rating_inner_rate

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        model = self.model(world, seed)
        rule = self.rule(model)
        return meta_train(
            model.parameters(),
            TaskSampler(world, seed),
            lambda episode: self.loss(model, rule, episode),
            lambda: GradientLearner(model, model.frozen(), rule),
            validate,
            Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience),
            self.counted(world),
        )
