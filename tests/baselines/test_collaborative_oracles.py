"""Collaborative methods against what others wrote: implicit, scikit-surprise, scikit-learn and a plain NumPy EASE, on ML-100K."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from baselines.nn.alternating import Side
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
    user, item, rating = (torch.from_numpy(np.array(column)) for column in (data.user, data.item, data.rating))
    kept = torch.nonzero(~held).flatten()
    kept = kept[torch.from_numpy(np.lexsort((item[kept].numpy(), user[kept].numpy())))]
    n_users, n_items = len(data.users), len(data.items)

    def make(goal: str) -> SimpleNamespace:
        world = World(
            Ratings(user[kept], item[kept], rating[kept].float(), torch.zeros(len(kept), dtype=torch.int64)),
            n_users, n_items, Features.empty(n_users), Features.empty(n_items),
            torch.bincount(item[kept], minlength=n_items) > 0, torch.zeros(n_items, dtype=torch.int64),
            goal, (0, 1, 5, 10, 20), data.rating_range, 4.0,
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
    ours = fitted("ials:IALS", part.world, factors=32, reading="liked", unobserved=0.1, damping=0.5, frequency=0.0, prior=0.0, conjugate=8)
    # implicit weighs an observed pair alpha and the others 1; ours, 1 more than the others' 0.1, is the same divided by alpha - 1
    theirs = als.AlternatingLeastSquares(32, regularization=5.0, alpha=11.0, iterations=15, num_threads=1, random_state=0)
    theirs.fit(likes(part.world), show_progress=False)
    others = torch.from_numpy(theirs.user_factors @ theirs.item_factors.T)
    assert ndcg(every_score(ours, part.world), part) == pytest.approx(ndcg(others, part), abs=0.015)


def test_bpr_folds_in_as_well_as_implicit_ranks_its_own(fold):
    bpr = pytest.importorskip("implicit.cpu.bpr")
    part = fold("ranking")
    ours = fitted("bpr:BPR", part.world)
    theirs = bpr.BayesianPersonalizedRanking(64, learning_rate=0.05, regularization=0.03, iterations=60, num_threads=1, random_state=0)
    theirs.fit(likes(part.world), show_progress=False)
    others = ndcg(torch.from_numpy(theirs.user_factors @ theirs.item_factors.T), part)
    assert others > 0.15
    assert ndcg(every_score(ours, part.world), part) > others - 0.02  # what was not liked is read as well, which may help


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
    got = every_score(learner, world).numpy()
    for e in range(0, 943, 100):
        seen = a[e].indices
        damping = method.damping * (len(seen) + method.unobserved * world.n_partners) ** method.frequency
        normal = method.unobserved * v.T @ v + v[seen].T @ v[seen] + damping * np.eye(v.shape[1])
        np.testing.assert_allclose(got[e], v @ np.linalg.solve(normal, v[seen].T @ a[e].data), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("goal", ["ranking", "rating"])
def test_the_fold_in_of_a_warm_history_is_the_half_step_of_als(fold, goal):

    world = fold(goal).world
    learner = fitted("als:ALS", world, rounds=3)
    rows, ranks = world.ratings, goal == "ranking"
    target = torch.from_numpy(values(world).data).float() if ranks else learner.bias.warm_residual(world)
    side = Side(rows.entity, rows.partner, target, world.n_entities)
    u = side.solve(learner.factors, learner.damping, learner.unobserved)
    torch.testing.assert_close(learner.adapt(histories(world))["u"], u, rtol=1e-3, atol=1e-3)


def test_slim_descends_to_the_elastic_net_of_scikit_learn(fold):
    linear = pytest.importorskip("sklearn.linear_model")
    from baselines.collaborative.slim import descend

    x = values(fold("ranking").world).toarray().astype(np.float64)
    gram, l1, l2, n = torch.from_numpy(x.T @ x), 1.0, 20.0, 40
    target = torch.tensor([0, 49, 99, 180])
    index = gram[target].scatter(1, target[:, None], 0.0).topk(n, 1).indices
    w = descend(gram[index.T[:, :, None], index], gram[target[:, None], index], l1, l2, 200)
    assert ((w == 0).any() and (w > 0).any()).item()
    for j in range(len(target)):
        model = linear.ElasticNet(
            alpha=(l1 + l2) / len(x), l1_ratio=l1 / (l1 + l2), positive=True, fit_intercept=False, tol=1e-10, max_iter=10_000
        )
        model.fit(x[:, index[j].numpy()], x[:, int(target[j])])
        np.testing.assert_allclose(w[j].numpy(), model.coef_, atol=1e-5)
