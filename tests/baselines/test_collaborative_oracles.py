"""Collaborative methods against what others wrote: implicit, scikit-surprise, scikit-learn and a plain NumPy EASE, on ML-100K."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit
from torch import Tensor

from baselines.collaborative.bpr import BPR, descend
from benchmark.contract import Features, Learner, Ratings, Support, World
from benchmark.data import store
from benchmark.evaluation import metrics
from benchmark.running.methods import build, entry

pytestmark = pytest.mark.data
FOLDER = "baselines.collaborative"


@pytest.fixture(scope="module")
def fold(real_data) -> Callable[[str], SimpleNamespace]:
    """fold("rating") -> ML-100K less a fifth of its rows: a world in which everybody is warm, and the rows held out."""
    data = store.load("ml-100k", real_data)
    held = torch.zeros(len(data.rating), dtype=torch.bool)
    held[torch.randperm(len(held), generator=torch.Generator().manual_seed(7))[: len(held) // 5]] = True
    user, item, rating = (
        torch.from_numpy(np.array(column)) for column in (data.user.astype(np.int64), data.item.astype(np.int64), data.rating)
    )
    kept = torch.nonzero(~held).flatten()
    kept = kept[torch.from_numpy(np.lexsort((item[kept].numpy(), user[kept].numpy())))]
    n_users, n_items = len(data.users), len(data.items)

    def make(goal: str) -> SimpleNamespace:
        world = World(
            Ratings(user[kept], item[kept], rating[kept].float(), torch.zeros(len(kept), dtype=torch.int64)),
            n_users, n_items, Features.empty(n_users), Features.empty(n_items),
            torch.bincount(item[kept], minlength=n_items) > 0, torch.ones(n_items, dtype=torch.bool),
            torch.zeros(n_items, dtype=torch.int64), goal, (0, 1, 5, 10, 20), data.rating_range, 4.0,
        )  # fmt: skip
        return SimpleNamespace(world=world, user=user[held], item=item[held], rating=rating[held].float())

    return make


def histories(world: World) -> Support:
    """Every entity with all of her own training rows."""
    rows = world.ratings
    count = torch.bincount(rows.entity, minlength=world.n_entities)
    place = torch.arange(int(count.max()))
    mask = place < count[:, None]
    row = ((count.cumsum(0) - count)[:, None] + place) * mask
    return Support(torch.arange(world.n_entities), rows.partner[row] * mask, rows.rating[row] * mask, rows.time[row] * mask, mask)


def fitted(name: str, world: World, **fields: object) -> Learner:
    return build(entry(f"{FOLDER}.{name}", fields)).fit(world, 0, lambda _: 0.0)


def every_score(learner: Learner, world: World) -> Tensor:
    return learner.score(learner.adapt(histories(world))).detach()


def values(world: World, dislike: float = 1.1) -> csr_matrix:
    """a(r) as a matrix."""
    rows = world.ratings
    a = 1 - dislike * (world.rating_range[1] - rows.rating) / (world.rating_range[1] - world.rating_range[0])
    return csr_matrix((a.numpy(), (rows.entity.numpy(), rows.partner.numpy())), shape=(world.n_entities, world.n_partners))


def likes(world: World) -> csr_matrix:
    liked = world.ratings.rating >= world.relevant_from
    where = world.ratings.entity[liked].numpy(), world.ratings.partner[liked].numpy()
    return csr_matrix((np.ones(len(where[0]), dtype=np.float32), where), shape=(world.n_entities, world.n_partners))


def ndcg(scores: Tensor, part: SimpleNamespace) -> float:
    """nDCG@10 of the held-out likes, training rows being no candidates."""
    scores = scores.clone()
    scores[part.world.ratings.entity, part.world.ratings.partner] = -torch.inf
    relevant = torch.zeros_like(scores, dtype=torch.bool)
    liked = part.rating >= part.world.relevant_from
    relevant[part.user[liked], part.item[liked]] = True
    some = relevant.any(1)
    found = metrics.ranking(metrics.top_places(scores[some], relevant[some]), relevant[some].sum(1))
    return float(found["ndcg@10"].mean())


def rmse(predicted: Tensor, part: SimpleNamespace) -> float:
    return float((predicted.clamp(*part.world.rating_range) - part.rating).square().mean().sqrt())


def surprise_rmse(algorithm, part: SimpleNamespace) -> float:
    """What scikit-surprise reaches on the same rows."""
    pandas = pytest.importorskip("pandas")
    surprise = pytest.importorskip("surprise")
    rows = part.world.ratings
    frame = pandas.DataFrame({"u": rows.entity.numpy(), "i": rows.partner.numpy(), "r": rows.rating.numpy()})
    train = surprise.Dataset.load_from_df(frame, surprise.Reader(rating_scale=part.world.rating_range)).build_full_trainset()
    asked = list(zip(part.user.tolist(), part.item.tolist(), part.rating.tolist(), strict=True))
    return float(surprise.accuracy.rmse(algorithm.fit(train).test(asked), verbose=False))


def test_ials_ranks_as_well_as_implicit(fold):
    als = pytest.importorskip("implicit.cpu.als")
    part = fold("ranking")
    weight = 0.1 * 943 * 1682 / likes(part.world).nnz  # so that a pair that is not observed weighs 0.1
    settings = {"unobserved": weight, "damping": 0.5, "frequency": 0.0, "prior": 0.0, "conjugate": 8}
    ours = fitted("ials:IALS", part.world, factors=32, reading="liked", **settings)
    # implicit weighs an observed pair alpha and the others 1; ours, 1 more than the others' 0.1, is the same divided by alpha - 1
    theirs = als.AlternatingLeastSquares(32, regularization=5.0, alpha=11.0, iterations=15, num_threads=1, random_state=0)
    theirs.fit(likes(part.world), show_progress=False)
    others = torch.from_numpy(theirs.user_factors @ theirs.item_factors.T)
    assert ndcg(every_score(ours, part.world), part) == pytest.approx(ndcg(others, part), abs=0.015)


def popular(world: World) -> Tensor:
    """What popularity scores everybody."""
    return torch.from_numpy(likes(world).sum(0)).float().expand(world.n_entities, -1)


def test_bpr_of_liked_rows_ranks_as_well_as_implicit_and_far_better_than_popularity(fold):
    """`implicit` draws its negatives from the liked rows, which unlearns popularity; ours are drawn from all partners alike."""
    bpr = pytest.importorskip("implicit.cpu.bpr")
    part = fold("ranking")
    theirs = bpr.BayesianPersonalizedRanking(64, learning_rate=0.01, regularization=0.01, iterations=100, num_threads=1, random_state=0)
    theirs.fit(likes(part.world), show_progress=False)
    base, others = ndcg(popular(part.world), part), ndcg(torch.from_numpy(theirs.user_factors @ theirs.item_factors.T), part)
    assert others > base + 0.04
    for popularity in (0.0, 1.0):  # it is no crutch: without it the factors learn as much
        method = BPR(reading="liked", damping=1.0, popularity=popularity)
        u, v, b = descend(method, part.world, 0)
        fitted_score = ndcg(torch.addmm(b, u, v.T), part)
        assert others + 0.04 < fitted_score < others + 0.14  # .34 against .25: a leak would be far above
    folded = every_score(method.fit(part.world, 0, lambda _: 0.0), part.world)
    assert ndcg(folded, part) == pytest.approx(fitted_score, abs=0.035)
    torch.testing.assert_close(b.expand_as(folded), popular(part.world).log1p())


def test_the_fold_in_of_a_warm_history_is_nearly_the_fit_of_bpr(fold):
    world = fold("ranking").world
    u, v, b = descend(BPR(), world, 0)
    learner, some = BPR().fit(world, 0, lambda _: 0.0), histories(world)[torch.arange(0, 943, 4)]
    own, folded = torch.addmm(b, u[some.entity], v.T), learner.score(learner.adapt(some))
    alike = [np.corrcoef(one, other)[0, 1] for one, other in zip(own.numpy(), folded.numpy(), strict=True)]
    both = [len({*one} & {*other}) / 10 for one, other in zip(own.topk(10, 1)[1].tolist(), folded.topk(10, 1)[1].tolist(), strict=True)]
    assert np.median(alike) > 0.99
    assert np.mean(both) > 0.7


def test_the_fold_in_of_bpr_minimises_its_loss(fold):
    """Against quasi-Newton on the loss of the docstring, written out."""
    world = fold("ranking").world
    method = BPR(steps=300, fold_steps=100)
    learner, a = method.fit(world, 0, lambda _: 0.0), values(world)
    v, b, j = learner.v.double().numpy(), learner.b.double().numpy(), learner.against.numpy()
    asked = torch.arange(0, 943, 200)
    got = learner.adapt(histories(world)[asked])["u"].double().numpy()
    for place, e in enumerate(asked.tolist()):
        i, size, sign = a[e].indices, np.abs(a[e].data), np.sign(a[e].data)

        def loss(u, i=i, size=size, sign=sign):
            s = v @ u + b
            gap = sign[:, None] * (s[i][:, None] - s[j])
            pull = (size * sign)[:, None] * expit(-gap) / len(j)
            value = size @ np.logaddexp(0, -gap).mean(1) + method.damping / 2 * u @ u
            return value, method.damping * u - v[i].T @ pull.sum(1) + v[j].T @ pull.sum(0)

        found = minimize(loss, np.zeros(v.shape[1]), jac=True, options={"gtol": 1e-5})
        np.testing.assert_allclose(v @ got[place], v @ found.x, atol=0.03)


def test_what_nobody_liked_comes_last_in_bpr(fold):
    world = fold("ranking").world
    never = popular(world)[0] == 0
    assert never.sum() > 50
    learner = BPR(reading="liked").fit(world, 0, lambda _: 0.0)
    scores = learner.score(learner.adapt(histories(world)[torch.arange(0, 943, 4)]))
    place = scores.argsort(1).argsort(1).float()[:, never].mean() / world.n_partners
    assert place < 0.25
    assert not never[scores.topk(100, 1).indices].any()


@pytest.mark.parametrize("entities", [943, 200])
def test_ease_equals_the_plain_closed_form(fold, entities):
    """With few entities the same scores come by way of a matrix of entities."""
    whole = fold("ranking").world
    rows = whole.ratings
    kept = rows.entity < entities
    few = Ratings(rows.entity[kept], rows.partner[kept], rows.rating[kept], rows.time[kept])
    world = World(**{**vars(whole), "ratings": few, "n_entities": entities, "n_partners": 1682})
    if entities > 900:  # partners as few as make the direct form
        shown = few.partner < 700
        few = Ratings(few.entity[shown], few.partner[shown], few.rating[shown], few.time[shown])
        world = World(**{**vars(world), "ratings": few, "n_partners": 700})
    learner = fitted("ease:EASE", world, prior=0.0)
    assert type(learner).__name__ == ("_Primal" if entities > 900 else "_Dual")
    x = values(world).toarray().astype(np.float64)
    p = np.linalg.inv(x.T @ x + learner.method.damping * np.eye(x.shape[1]))
    b = p / -np.diag(p)
    np.fill_diagonal(b, 0.0)
    np.testing.assert_allclose(every_score(learner, world).numpy(), x @ b, atol=1e-3)


def test_user_knn_is_knn_baseline_of_surprise(fold):
    surprise = pytest.importorskip("surprise")
    part = fold("rating")
    ours = fitted("user_knn:UserKNN", part.world, likeness="msd", rating_neighbours=40, damping=0.0, entity_damping=15.0)
    support = histories(part.world)
    asked, place = torch.zeros(943, int(torch.bincount(part.user).max()), dtype=torch.int64), torch.zeros_like(part.user)
    order = torch.argsort(part.user, stable=True)
    count = torch.bincount(part.user, minlength=943)
    place[order] = torch.arange(len(order)) - (count.cumsum(0) - count)[part.user[order]]
    asked[part.user, place] = part.item
    predicted = ours.score(ours.adapt(support), asked)[part.user, place]
    theirs = surprise.KNNBaseline(k=40, sim_options={"name": "msd", "user_based": True}, verbose=False)
    assert rmse(predicted, part) == pytest.approx(surprise_rmse(theirs, part), abs=0.006)


@pytest.mark.parametrize("implicit", [False, True])
def test_svd_reaches_the_error_of_surprise(fold, implicit):
    surprise = pytest.importorskip("surprise")
    part = fold("rating")
    fields = {} if implicit else {"factors": 100, "learning_rate": 0.005}
    ours = fitted("svdpp:SVDpp", part.world, implicit=implicit, **fields)
    predicted = every_score(ours, part.world)[part.user, part.item]
    theirs = (
        0.919 if implicit else surprise_rmse(surprise.SVD(random_state=0), part)
    )  # SVD++ of Surprise takes minutes: its published figure
    assert rmse(predicted, part) == pytest.approx(theirs, abs=0.006)


def test_the_fold_in_of_a_warm_history_is_the_exact_half_step_of_ials(fold):
    world = fold("ranking").world
    learner = fitted("ials:IALS", world, factors=16, prior=0.0)
    v, a, method = learner.v.double().numpy(), values(world), learner.method
    w = method.unobserved * a.nnz / (943 * 1682)
    got = every_score(learner, world).numpy()
    for e in range(0, 943, 100):
        seen = a[e].indices
        damping = method.damping * (len(seen) + w * world.n_partners) ** method.frequency
        normal = w * v.T @ v + v[seen].T @ v[seen] + damping * np.eye(v.shape[1])
        np.testing.assert_allclose(got[e], v @ np.linalg.solve(normal, v[seen].T @ a[e].data), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("goal", ["ranking", "rating"])
def test_the_fold_in_of_a_warm_history_is_the_half_step_of_als(fold, goal):
    world = fold(goal).world
    learner = fitted("als:ALS", world, rounds=3)
    rows, ranks = world.ratings, goal == "ranking"
    y = values(world).data if ranks else learner.bias.warm_residual(world).double().numpy()
    w, damping = (learner.method.unobserved, learner.method.ranking_damping) if ranks else (0.0, learner.method.damping)
    v, got = learner.factors.double().numpy(), learner.adapt(histories(world))["u"].numpy()
    for e in range(0, 943, 50):
        own = (rows.entity == e).numpy()
        seen = v[rows.partner.numpy()[own]]
        normal = w * v.T @ v + (1 - w) * seen.T @ seen + damping * np.eye(v.shape[1])
        np.testing.assert_allclose(got[e], np.linalg.solve(normal, seen.T @ y[own]), rtol=1e-3, atol=1e-3)


def test_a_warm_entity_is_no_neighbour_of_her_own(fold):
    """Against user-kNN written out, one entity at a time."""
    part = fold("ranking")
    learner = fitted("user_knn:UserKNN", part.world, neighbours=20, prior=0.0)
    state, got = learner.adapt(histories(part.world)), every_score(learner, part.world).numpy()
    own = state["near"] == torch.arange(part.world.n_entities)[:, None]
    assert (state["w"][own] == 0).all()
    a = values(part.world).toarray()
    rated, length = a != 0, np.linalg.norm(a, axis=1)
    for e in range(0, 943, 100):
        both = (rated[e] & rated).sum(1)
        w = a @ a[e] / (length * length[e]) * both / (both + learner.method.shrink)
        w[e] = -np.inf
        near = np.argsort(-w)[:20]
        np.testing.assert_allclose(got[e], w[near] @ a[near] / w[near].sum(), atol=1e-4)


@pytest.mark.parametrize("l1", [0.1, 1.0, 5.0, 20.0])
def test_slim_fits_the_elastic_net_of_scikit_learn(fold, l1):
    """Every eighth partner, rare and popular, each a sum of all the others."""
    linear = pytest.importorskip("sklearn.linear_model")
    whole = fold("ranking").world
    kept = whole.ratings.partner % 8 == 0
    few = Ratings(
        *(column[kept] for column in (whole.ratings.entity, whole.ratings.partner // 8, whole.ratings.rating, whole.ratings.time))
    )
    n, l2 = 211, 20.0
    world = World(**{**vars(whole), "ratings": few, "n_partners": n})
    learner = fitted("slim:SLIM", world, neighbours=n - 1, l1=l1, l2=l2, sweeps=100, prior=0.0)
    w = np.zeros((n, n))
    w[np.repeat(np.arange(n), learner.columns.count().numpy()), learner.columns.column.numpy()] = learner.w.numpy()
    x = values(world).toarray().astype(np.float64)
    g = x.T @ x
    np.fill_diagonal(g, 0.0)
    pull = g.max(1) / l1  # of the nearest; a partner is a sum of others where it is above 1
    asked = [int(j) for low, high in ((0, 1), (1, 5), (5, 50), (50, np.inf)) for j in np.flatnonzero((pull > low) & (pull <= high))[:6]]
    assert sum(1 < pull[j] <= 50 for j in asked) >= 3
    assert max(pull[asked]) > 1 > min(pull[asked])
    for j in asked:
        others = np.delete(np.arange(n), j)
        model = linear.ElasticNet(
            alpha=(l1 + l2) / len(x), l1_ratio=l1 / (l1 + l2), positive=True, fit_intercept=False, tol=1e-10, max_iter=10_000
        )
        model.fit(x[:, others], x[:, j])
        assert (model.coef_ > 0).any() == (pull[j] > 1)
        np.testing.assert_allclose(w[j, others], model.coef_, atol=1e-4)
