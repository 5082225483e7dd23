"""Methods against their docstrings: what `fit` minimises and what a learner answers, beside loops and dense NumPy in float64."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.collaborative import lightgcn, mult_vae
from baselines.collaborative.svdpp import SVDpp
from baselines.content import factorization_machine, two_tower
from baselines.nn.bias import DampedBias
from baselines.nn.thinned_histories import ThinnedHistories
from baselines.transfer import clcrec, dropoutnet, ptupcdr
from benchmark.contract import Features, Method, Support, World
from benchmark.protocol.tasks import Episode, TaskSampler

GOALS = ("ranking", "rating")
COLD = 79  # a partner without a warm row


def known(made: World) -> World:
    """Something is known of both sides, and one partner is cold."""
    luck, n = torch.Generator().manual_seed(0), made.n_entities
    features = Features(torch.randint(4, (n, 1), generator=luck), torch.zeros(n, 0), torch.randn(n, 2, generator=luck), (4,))
    kept = made.ratings.partner != COLD
    rows = made.ratings._each(lambda column: column[kept])
    return replace(made, ratings=rows, entity_features=features, partner_is_warm=torch.arange(made.n_partners) != COLD)


@pytest.fixture(params=GOALS)
def world(request, oracle) -> World:
    return known(oracle("interaction", request.param, "melu").world)


@pytest.fixture
def ranking(oracle) -> World:
    return known(oracle("interaction", "ranking", "melu").world)


def fit(monkeypatch, module: ModuleType, method: Method, world: World) -> SimpleNamespace:
    """What `fit` hands to the outer loop, every weight far from 0, and the learner that it makes of them."""
    found, model_class = SimpleNamespace(), module._Model

    def model(*arguments):
        found.model = model_class(*arguments)
        return found.model

    def outer(parameters, sampler, loss, learner, *_):
        luck = torch.Generator().manual_seed(5)
        for parameter in parameters:
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=luck)
        found.loss, found.sampler = loss, sampler
        return learner()

    monkeypatch.setattr(module, "_Model", model)
    monkeypatch.setattr(module, "meta_train", outer)
    found.learner = method.fit(world, 0, lambda _: 0.0)
    return found


def numbers(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def design(features: Features) -> np.ndarray:
    """Of the worlds here: each known category, then the dense numbers."""
    blocks = [(features.categorical[:, a, None] == torch.arange(1, size)).double() for a, size in enumerate(features.categorical_sizes)]
    return torch.cat([*blocks, features.dense.double()], 1).numpy()


def shown(world: World, support: Support, t: int, dislike: float) -> tuple[np.ndarray, np.ndarray]:
    """Partners [k] and y [k] of one task."""
    real = support.mask[t]
    partner, rating = support.partner[t, real].numpy(), support.rating[t, real].double().numpy()
    if world.goal == "ranking":
        low, high = world.rating_range
        return partner, 1 - dislike * (high - rating) / (high - low)
    bias = DampedBias.fit(world)
    left = rating - float(bias.mean) - bias.partner.double().numpy()[partner]
    return partner, left - left.sum() / (len(left) + bias.entity_damping)


def loss_of(f: np.ndarray, episode: Episode, world: World) -> float:
    """The softmax over the catalogue less the pool, or the squared error over the bias model, task by task."""
    bias, found = DampedBias.fit(world), []
    for t in range(len(f)):
        real = episode.query_mask[t]
        partner, rating = episode.query_partner[t, real].tolist(), episode.query_rating[t, real].tolist()
        if world.goal == "ranking":
            pool = set(episode.pool[t].tolist())
            total = np.log(sum(np.exp(f[t, p]) for p in range(world.n_partners) if p not in pool and world.partner_is_ranked[p]))
            liked = [p for p, r in zip(partner, rating, strict=True) if r >= world.relevant_from]
            found += [-np.mean([f[t, p] - total for p in liked])] if liked else []
        else:
            b_e = float(bias.entity(episode.support)[t, 0])
            gaps = [float(bias.mean + bias.partner[p]) + b_e + f[t, p] - r for p, r in zip(partner, rating, strict=True)]
            found.append(np.mean(np.square(gaps)))
    return float(np.mean(found))


def answers(learner, support: Support, world: World) -> np.ndarray:
    """f [T, n_partners]: scores less the bias model's."""
    scores = learner.score(learner.adapt(support)).detach().double()
    if world.goal == "rating":
        bias = DampedBias.fit(world)
        scores = scores - bias.predict(bias.entity(support)).double()
    return scores.numpy()


def close(got: object, wanted: object, rtol: float = 1e-4, atol: float = 1e-4) -> None:
    got = got.detach().double().numpy() if isinstance(got, Tensor) else got
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)


def ridge(x: np.ndarray, y: np.ndarray, damping: float) -> np.ndarray:
    return np.linalg.solve(x.T @ x + damping * np.eye(x.shape[1]), x.T @ y)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def test_a_factorization_machine_is_its_sum_over_pairs(monkeypatch, world):
    method = factorization_machine.FM(width=4)
    found = fit(monkeypatch, factorization_machine, method, world)
    episode, model = TaskSampler(world, 3).sample(6), found.model
    x_p, x_e = design(world.partner_features), design(world.entity_features)
    identity, content, bag, of_entity = numbers(model.encoder.identity, model.encoder.content, model.bag, model.v)
    v = np.concatenate([identity * world.partner_is_warm.numpy()[:, None], content, bag, of_entity])
    w = np.concatenate(numbers(model.b, model.content_w, model.bag_w, model.w))
    f = np.zeros((6, world.n_partners))
    for t, p in itertools.product(range(6), range(world.n_partners)):
        one, told = np.zeros(world.n_partners), np.zeros(world.n_partners)
        partner, y = shown(world, episode.support, t, method.dislike)
        one[p], told[partner] = 1, y / max(1, len(y)) ** 0.5
        x = np.concatenate([one, x_p[p], told, x_e[episode.support.entity[t]]])
        present = np.nonzero(x)[0]
        f[t, p] = (w * x).sum() + sum(v[i] @ v[j] * x[i] * x[j] for i, j in itertools.combinations(present, 2))
    close(answers(found.learner, episode.support, world), f)
    close(found.loss(episode), loss_of(f, episode, world))


def _two_towers(model, support: Support, world: World, dislike: float) -> np.ndarray:
    identity, content, b = numbers(model.encoder.identity, model.encoder.content, model.b)
    h = identity * world.partner_is_warm.numpy()[:, None] + design(world.partner_features) @ content
    (w1, c, w2), (v1, d, v2) = numbers(*model.partner_tower), numbers(*model.entity_tower)
    z, f = h + relu(h @ w1 + c) @ w2, []
    for t, entity in enumerate(support.entity.tolist()):
        partner, y = shown(world, support, t, dislike)
        mean = y @ h[partner] / (len(y) + 1) / model.method.scale
        u = relu(np.concatenate([mean, design(world.entity_features)[entity]]) @ v1 + d[0]) @ v2
        f.append(z @ u + b)
    return np.array(f)


def test_two_towers_rank_among_what_was_drawn_each_lowered_by_log_q(monkeypatch, world):
    drawn = []

    class Seen(two_tower.Negatives):
        def draw(self):
            drawn.append(super().draw())
            return drawn[-1]

    monkeypatch.setattr(two_tower, "Negatives", Seen)
    method = two_tower.TwoTower(width=4, hidden=5, negatives=30)
    found = fit(monkeypatch, two_tower, method, world)
    episode = TaskSampler(world, 3).sample(6)
    f = _two_towers(found.model, episode.support, world, method.dislike)
    close(answers(found.learner, episode.support, world), f)
    value = found.loss(episode).item()
    if world.goal == "rating":
        close(value, loss_of(f, episode, world))
        return
    q = (np.bincount(world.ratings.partner.numpy(), minlength=world.n_partners) + 1) ** 0.75
    log_q, losses = np.log(q / q.sum() * len(drawn[0])), []
    for t in range(6):
        pool = set(episode.pool[t].tolist())
        others = sum(np.exp(f[t, n] - log_q[n]) for n in drawn[0].tolist() if n not in pool)
        liked = episode.query_partner[t, episode.query_mask[t] & (episode.query_rating[t] >= world.relevant_from)].tolist()
        losses += [np.mean([np.log(np.exp(f[t, p]) + others) - f[t, p] for p in liked])] if liked else []
    close(value, np.mean(losses))


@pytest.mark.parametrize("mixing", [0.0, 1.0])
def test_clcrec_is_the_loss_of_the_met_and_a_weight_of_the_contrast(monkeypatch, world, mixing):
    method = clcrec.CLCRec(width=4, hidden=5, weight=0.7, mixing=mixing, contrasted=1000)  # every warm partner, in whatever order
    found = fit(monkeypatch, clcrec, method, world)
    episode, model = TaskSampler(world, 3).sample(6), found.model
    (first, offset, second), (e, prior, b) = numbers(*model.net), numbers(model.e, model.prior, model.b)
    g, warm = relu(design(world.partner_features) @ first + offset) @ second, world.partner_is_warm.numpy()
    z = np.where(warm[:, None] & (mixing == 0), e, g)
    log_damping, scale, dislike = model.numbers.tolist()
    f = []
    for t in range(6):
        partner, y = shown(world, episode.support, t, dislike)
        y = y * scale if world.goal == "ranking" else y
        f.append(z @ (prior + ridge(z[partner], y, np.exp(log_damping))) + b)
    contrast = []
    for p in np.nonzero(warm)[0]:
        near = [e[p] @ g[q] / np.linalg.norm(e[p]) / np.linalg.norm(g[q]) / method.temperature for q in np.nonzero(warm)[0]]
        contrast.append(np.log(np.exp(near).sum()) - near[p])
    close(found.loss(episode), loss_of(np.array(f), episode, world) + 0.7 * np.mean(contrast))
    close(answers(found.learner, episode.support, world), f)


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_dropoutnet_is_trained_on_what_dropout_leaves(monkeypatch, world, dropout):
    method = dropoutnet.DropoutNet(width=4, hidden=5, dropout=dropout, base_steps=5)
    found = fit(monkeypatch, dropoutnet, method, world)
    episode, model, kept = TaskSampler(world, 3).sample(6), found.model, {}
    of_partners, of_entities = model.partners, model.entities

    def partners(of_partner):
        kept["partners"] = of_partner.numpy()
        return of_partners(of_partner)

    def entities(support, network, of_entity):
        kept["entities"] = of_entity.numpy()
        return of_entities(support, network, of_entity)

    monkeypatch.setattr(model, "partners", partners)
    monkeypatch.setattr(model, "entities", entities)
    value = found.loss(episode).item()
    for one, n in zip((kept["entities"], kept["partners"]), (6, world.n_partners), strict=True):
        assert one.shape == (n, 1)
        assert set(one.flatten()) == {0.0: {1.0}, 0.5: {0.0, 1.0}, 1.0: {0.0}}[dropout]
    monkeypatch.undo()
    base, b, warm = *numbers(model.base.z, model.base.b), world.partner_is_warm.numpy()
    z = base * warm[:, None] / base[warm].std(ddof=1)

    def through(vector: np.ndarray, x: np.ndarray, network) -> np.ndarray:
        first, offset, second, straight = numbers(*network)
        return relu(np.concatenate([vector, x]) @ first + offset[0]) @ second + vector @ straight

    def f(of_partner: np.ndarray, of_entity: np.ndarray) -> np.ndarray:
        x_p, x_e, rows = design(world.partner_features), design(world.entity_features), []
        table = np.array([through(z[p] * of_partner[p], x_p[p], model.of_partner) for p in range(world.n_partners)])
        for t, entity in enumerate(episode.support.entity.tolist()):
            partner, y = shown(world, episode.support, t, method.dislike)
            mean = y @ z[partner] / (method.damping + len(y))
            rows.append(table @ through(mean * of_entity[t], x_e[entity], model.of_entity) + b)
        return np.array(rows)

    close(value, loss_of(f(kept["partners"], kept["entities"]), episode, world))
    close(answers(found.learner, episode.support, world), f(np.ones(world.n_partners), np.ones(6)))


class Recorder:
    """An optimiser that notes weights and gradients, and then moves every weight at random."""

    def __init__(self, parameters, **_):
        self.parameters, self.luck, self.steps = list(parameters), torch.Generator().manual_seed(5), []

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def step(self):
        self.steps.append([(parameter.detach().clone(), parameter.grad.clone()) for parameter in self.parameters])
        for parameter in self.parameters:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=self.luck)


@pytest.fixture
def recorded(monkeypatch):
    """The one optimiser of a fit, and what each of its steps read of the histories."""
    found = SimpleNamespace(optimiser=None, draws=[], epoch=-1)
    draw, shuffled = ThinnedHistories.draw, ThinnedHistories.shuffled

    def optimiser(*arguments, **fields):
        found.optimiser = Recorder(*arguments, **fields)
        return found.optimiser

    def seen(self, entity):
        rows, x, y = draw(self, entity)
        cells = [slice(*ends) for ends in itertools.pairwise(rows.offset.tolist())]
        parts = [(rows.column[cell], x[cell].double()) for cell in cells]
        found.draws.append(SimpleNamespace(parts=parts, y=y.double(), epoch=found.epoch, luck=self._generator.get_state()))
        return rows, x, y

    def counted(self):
        found.epoch += 1
        return shuffled(self)

    monkeypatch.setattr(torch.optim, "AdamW", optimiser)
    monkeypatch.setattr(ThinnedHistories, "draw", seen)
    monkeypatch.setattr(ThinnedHistories, "shuffled", counted)
    return found


def last_is_best():
    """A validation that likes each learner better than the one before."""
    count = itertools.count()
    return lambda _: float(next(count))


def same_gradients(loss, step) -> None:
    """The gradient that the optimiser got is the one of `loss` of the same weights in float64."""
    weights = [weight.double().requires_grad_() for weight, _ in step]
    for (_, got), wanted in zip(step, torch.autograd.grad(loss(*weights), weights), strict=True):
        assert float((got - wanted).norm() / wanted.norm()) < 1e-4


def _parts(support: Support, world: World, dislike: float = 1.1) -> list[tuple[Tensor, Tensor]]:
    """Partners and a(r) of each task."""
    found = (shown(world, support, t, dislike) for t in range(len(support)))
    return [(torch.from_numpy(partner), torch.from_numpy(y)) for partner, y in found]


@pytest.mark.parametrize("damping", [0.0, 10.0])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_lightgcn_attaches_an_entity_to_the_dense_graph(ranking, recorded, layers, damping):
    method = lightgcn.LightGCN(width=4, layers=layers, degree_damping=damping, scale=0.5, steps=2, evaluate_every=1, entities_per_step=16)
    learner = method.fit(ranking, 0, last_is_best())
    rows, (low, high) = ranking.ratings, ranking.rating_range
    a = torch.zeros(ranking.n_entities, ranking.n_partners, dtype=torch.float64)
    a[rows.entity, rows.partner] = 1 - method.dislike * (high - rows.rating.double()) / (high - low)
    n_e, n_p = (damping + a.abs().sum(side) for side in (1, 0))
    graph = a / (n_e[:, None] * n_p[None]).sqrt().clamp(min=1e-6)
    warm = rows.entity.unique()

    def scores(entity: Tensor, partner: Tensor, b: Tensor, parts) -> Tensor:
        e, p = [entity], [partner]
        for layer in range(layers):
            e, p = [*e, graph @ p[layer]], [*p, graph.T @ e[layer]]
        z_p, found = sum(p) / (layers + 1), []
        for j, x in parts:
            own = [entity[warm].mean(0)]
            for layer in range(layers):
                own.append(sum((w * p[layer][q] / (x.abs().sum() * n_p[q]).sqrt() for q, w in zip(j, x, strict=True)), own[0] * 0))
            found.append(z_p @ (sum(own) / (layers + 1)) + b)
        return torch.stack(found)

    assert len(recorded.optimiser.steps) == 2
    for step, draw in zip(recorded.optimiser.steps, recorded.draws, strict=True):
        same_gradients(lambda *w, draw=draw: -(scores(*w, draw.parts).log_softmax(1) * draw.y).sum(1).mean(), step)
    support = TaskSampler(ranking, 3).sample(8).support
    wanted = scores(*(w.detach().double() for w in recorded.optimiser.parameters), _parts(support, ranking))
    close(learner.score(learner.adapt(support)), wanted.numpy())


def test_mult_vae_samples_z_and_pays_for_it_by_kl(ranking, recorded, monkeypatch):
    models, model_class = [], mult_vae._Model
    monkeypatch.setattr(mult_vae, "_Model", lambda *rest: models.append(model_class(*rest)) or models[-1])
    method = mult_vae.MultVAE(hidden=5, latent=3, kl=0.5, epochs=3, anneal_epochs=4)
    learner = method.fit(ranking, 0, last_is_best())
    names = [name for name, _ in models[0].named_parameters()]
    n = torch.bincount(ranking.ratings.partner, minlength=ranking.n_partners).double()
    t = n / (n + method.partner_damping)

    def code(w: SimpleNamespace, parts) -> tuple[Tensor, Tensor]:
        found = []
        for j, x in parts:
            total = sum((t[q] * one * w.first[q] for q, one in zip(j, x, strict=True)), w.first[0] * 0)
            h = torch.tanh(total / (x.square().sum() + method.damping).sqrt() + w.first_b)
            found.append(h @ w.middle + w.middle_b)
        return torch.stack(found)[:, :3], torch.stack(found)[:, 3:]

    def decoded(w: SimpleNamespace, z: Tensor) -> Tensor:
        return torch.tanh(z @ w.up + w.up_b) @ w.last.T + w.b

    def loss(draw: SimpleNamespace, *weights: Tensor) -> Tensor:
        w = SimpleNamespace(**dict(zip(names, weights, strict=True)))
        m, log_s = code(w, draw.parts)
        luck = torch.Generator()
        luck.set_state(draw.luck)
        z = m + log_s.exp() * torch.randn(m.shape, generator=luck).double()
        one, other = torch.distributions.Normal(m, log_s.exp()), torch.distributions.Normal(torch.zeros_like(m), 1.0)
        kl = torch.distributions.kl_divergence(one, other).sum(1)
        return (method.kl * draw.epoch / 4 * kl - (decoded(w, z).log_softmax(1) * draw.y).sum(1)).mean()

    together = list(zip(recorded.optimiser.steps, recorded.draws, strict=True))
    for place in (0, len(together) // 2, -1):
        step, draw = together[place]
        same_gradients(lambda *weights, draw=draw: loss(draw, *weights), step)
    assert {draw.epoch for _, draw in together} == {0, 1, 2}
    w = SimpleNamespace(**{name: p.detach().double() for name, p in zip(names, recorded.optimiser.parameters, strict=True)})
    support = TaskSampler(ranking, 3).sample(16).support
    assert (support.count() == 0).any()
    close(learner.score(learner.adapt(support)), decoded(w, code(w, _parts(support, ranking))[0]).numpy())


def test_mult_vae_starts_as_popularity_at_zero_shots(ranking):
    learner = mult_vae.MultVAE(epochs=0).fit(ranking, 0, lambda _: 0.0)
    counts, rows = np.full(ranking.n_partners, 0.5), ranking.ratings
    for partner, rating in zip(rows.partner.tolist(), rows.rating.tolist(), strict=True):
        counts[partner] += rating >= ranking.relevant_from
    support = TaskSampler(ranking, 3).sample(2).support
    nothing = replace(support, partner=support.partner * 0, rating=support.rating * 0, mask=support.mask & False)
    close(learner.score(learner.adapt(nothing)), np.tile(np.log(counts / counts.sum()), (2, 1)))


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_svdpp_takes_the_steps_of_a_part_together(oracle, decay):
    world = oracle("interaction", "rating").world
    method = SVDpp(factors=3, epochs=2, batches=1, decay=decay, learning_rate=0.001)
    learner = method.fit(world, 0, lambda _: 0.0)
    luck, rows, rate, keep = torch.Generator().manual_seed(0), world.ratings, method.learning_rate, 1 - method.learning_rate * decay
    p, q, y = (torch.randn(n, 3, generator=luck).double().numpy() * 0.1 for n in (world.n_entities, world.n_partners, world.n_partners))
    r, met = np.zeros((world.n_entities, world.n_partners)), np.zeros((world.n_entities, world.n_partners))
    r[rows.entity, rows.partner], met[rows.entity, rows.partner] = rows.rating, 1
    mu, n_e, n_p, b_e, b_p = r[met > 0].mean(), met.sum(1), met.sum(0), np.zeros(world.n_entities), np.zeros(world.n_partners)
    root, n_y = 1 / np.maximum(n_e, 1) ** 0.5, met.T @ n_e
    along = np.ones_like(n_y) if decay == 0 else (1 - keep**n_y) / ((1 - keep) * n_y)
    for _ in range(2):
        whole = p + root[:, None] * (met @ y)
        err = met * (r - mu - b_e[:, None] - b_p - whole @ q.T)
        y = (keep**n_y)[:, None] * y + rate * along[:, None] * (met.T @ (root[:, None] * (err @ q)))
        p, q = (keep**n_e)[:, None] * p + rate * err @ q, (keep**n_p)[:, None] * q + rate * err.T @ whole
        b_e, b_p = keep**n_e * b_e + rate * err.sum(1), keep**n_p * b_p + rate * err.sum(0)
    for got, wanted in ((learner.p, p), (learner.q, q), (learner.y, y), (learner.b_e, b_e), (learner.b_p, b_p)):
        close(got, wanted, rtol=1e-3, atol=1e-5)
    assert np.abs(learner.y.numpy()).max() > 0


@pytest.fixture(params=GOALS)
def two(request, oracle) -> World:
    """Every second partner is of the source."""
    world = oracle("interaction", request.param).world
    domain = torch.arange(world.n_partners) % 2
    return replace(world, partner_domain=domain, partner_is_ranked=domain == 0)


def test_ptupcdr_gives_each_entity_a_bridge_of_her_own(monkeypatch, two):
    method = ptupcdr.PTUPCDR(factors=3, hidden=16)
    found = fit(monkeypatch, ptupcdr, method, two)
    episode, model = found.sampler.sample(8), found.model
    first, first_b, to_attention, third, third_b, fourth, straight, (log_damping, log_strength) = numbers(*model.net)
    v_s, v_t, b = numbers(model.source.v, model.target.v, model.b)
    w = method.unobserved if two.goal == "ranking" else 0.0
    us, starts, bridges = [], [], []
    for t in range(8):
        partner, y = shown(two, episode.support, t, method.dislike)
        of_source = two.partner_domain[partner].numpy() > 0
        seen, of_target = v_s[partner[of_source]], v_t[partner[~of_source]]
        normal = w * v_s.T @ v_s + (1 - w) * seen.T @ seen + method.damping * np.eye(3)
        u_s = np.linalg.solve(normal, seen.T @ y[of_source])
        attention = np.exp(relu(seen @ first + first_b) @ to_attention)[:, 0]
        c = attention / attention.sum() @ seen
        bridges.append(np.eye(3) + (relu(c @ third + third_b[0]) @ fourth).reshape(3, 3))
        starts.append(u_s @ straight @ bridges[-1])
        left = y[~of_source] - (of_target @ starts[-1] if two.goal == "rating" else 0)
        us.append(starts[-1] + np.exp(log_strength) * ridge(of_target, left, np.exp(log_damping)))
    assert min(np.abs(one - other).max() for one, other in itertools.combinations(bridges, 2)) > 1e-3
    close(found.learner.adapt(episode.support)["u"], us)
    close(answers(found.learner, episode.support, two), np.array(us) @ v_t.T + b)
    close(found.loss(episode), loss_of(np.array(us) @ v_t.T + b, episode, two))
    of_source = episode.support.mask & (two.partner_domain[episode.support.partner] > 0)
    bare = replace(episode.support, partner=episode.support.partner * of_source, rating=episode.support.rating * of_source, mask=of_source)
    if two.goal == "ranking":  # at `rating` the mean over both domains, b_e, changes with the rows
        close(found.learner.adapt(bare)["u"], starts)


def _windows(sampler: TaskSampler, n: int) -> list[tuple[int, list[int]]]:
    """Each task's target rows: the pool, then the query."""
    episode, found = sampler.sample(n), []
    for t in range(n):
        found.append(
            (int(episode.support.entity[t]), [*episode.pool[t].tolist(), *episode.query_partner[t, episode.query_mask[t]].tolist()])
        )
    return found


def test_windows_of_two_domains_are_in_no_order_of_ids(two):
    sampler = TaskSampler(two, 0)
    windows = [window for _, window in _windows(sampler, 200)]
    support = sampler.sample(200).support
    windows += [row[real & (two.partner_domain[row] > 0)].tolist() for row, real in zip(support.partner, support.mask, strict=True)]
    rises = [later > earlier for window in windows for earlier, later in itertools.pairwise(window)]
    assert 0.45 < np.mean(rises) < 0.55


def test_histories_of_two_domains_are_ordered_anew_each_epoch(two):
    def followers(windows) -> dict[tuple[int, int], int]:
        return {(entity, one): next_one for entity, window in windows for one, next_one in itertools.pairwise(window)}

    sampler = TaskSampler(two, 0)
    first, same, later = (_windows(sampler, n) for n in (2048, 2048, 2048))
    first, same, later = followers(first), followers(same), followers(later)
    for other, low, high in ((same, 0.8, 1.0), (later, 0.0, 0.3)):
        both = first.keys() & other.keys()
        assert len(both) > 1000
        assert low <= np.mean([first[key] == other[key] for key in both]) <= high


def test_windows_of_two_domains_hold_her_own_rows_once(two):
    episode, rows = TaskSampler(two, 0).sample(100), two.ratings
    rating = {(e, p): r for e, p, r in zip(rows.entity.tolist(), rows.partner.tolist(), rows.rating.tolist(), strict=True)}
    for t, entity in enumerate(episode.support.entity.tolist()):
        real, asked = episode.support.mask[t], episode.query_mask[t]
        partner = [*episode.support.partner[t, real].tolist(), *episode.query_partner[t, asked].tolist()]
        assert len(set(partner)) == len(partner)
        given = [*episode.support.rating[t, real].tolist(), *episode.query_rating[t, asked].tolist()]
        assert [rating[entity, p] for p in partner] == given
        assert all(two.partner_domain[p] == 0 for p in episode.query_partner[t, asked].tolist())
    again, other = TaskSampler(two, 0).sample(100), TaskSampler(two, 1).sample(100)
    assert torch.equal(again.query_partner, episode.query_partner)
    assert not torch.equal(other.query_partner, episode.query_partner)
