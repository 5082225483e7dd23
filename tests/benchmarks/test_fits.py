"""Collaborative fits of ML-1M, every user warm, beside NumPy's inverse and the package `implicit`."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from baselines.collaborative.ease import EASE
from baselines.collaborative.ials import IALS
from baselines.collaborative.item_knn import ItemKNN
from benchmark.contract import Features, Ratings, Support, World
from benchmark.data import store

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def everybody(real_data, timed) -> SimpleNamespace:
    """ML-1M with all of its users warm, and as a matrix of ones; or a corner of it."""
    data = store.load("ml-1m", real_data)
    n_users, n_items = (len(data.users), len(data.items)) if timed else (300, 200)
    kept = (data.user < n_users) & (data.item < n_items)
    user, item, rating, time = (np.array(column[kept]) for column in (data.user, data.item, data.rating, data.time))
    count = np.bincount(item, minlength=n_items)
    world = World(
        Ratings(torch.from_numpy(user).long(), torch.from_numpy(item).long(), torch.from_numpy(rating), torch.from_numpy(time)),
        n_users, n_items, Features.empty(n_users), Features.empty(n_items),
        torch.from_numpy(count > 0), torch.ones(n_items, dtype=torch.bool), torch.zeros(n_items, dtype=torch.int64),
        "ranking", (0, 1, 5), data.rating_range, 4.0,
    )  # fmt: skip
    return SimpleNamespace(world=world, ones=csr_matrix((np.ones(len(user), dtype=np.float32), (user, item)), shape=(n_users, n_items)))


def fit(method, world):
    return method.fit(world, 0, lambda _: 0.0)


def test_ease(beside, everybody):
    method = EASE(dislike=0.0, damping=500.0)

    def inverse():
        gram = (everybody.ones.T @ everybody.ones).toarray()
        gram[np.diag_indices(len(gram))] += method.damping
        p = np.linalg.inv(gram)
        b = p / -np.diag(p)
        np.fill_diagonal(b, 0.0)
        return b

    found, wanted = beside("EASE, fit", lambda: fit(method, everybody.world).b, inverse, reference="NumPy's inverse", rounds=3)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*expects CSR")
def test_item_knn(beside, everybody):
    nearest = pytest.importorskip("implicit.nearest_neighbours")
    n = 100
    method = ItemKNN(neighbours=n, shrink=1e-9, dislike=0.0)

    def theirs():
        model = nearest.CosineRecommender(n + 1, num_threads=1)  # an item is a neighbour of its own there
        model.fit(everybody.ones, show_progress=False)
        return model.similarity

    found, wanted = beside("item-kNN, fit", lambda: fit(method, everybody.world).likeness, theirs, reference="implicit, cosine", rounds=3)
    wanted = wanted.toarray()
    np.fill_diagonal(wanted, 0.0)
    np.testing.assert_allclose(-np.sort(-found.numpy())[:, :n], -np.sort(-wanted)[:, :n], rtol=0, atol=1e-5)


def test_ials(beside, everybody):
    """Other starts and other steps, so scores are compared by their correlation."""
    als = pytest.importorskip("implicit.cpu.als")
    ones = everybody.ones
    weight = 0.1 * ones.shape[0] * ones.shape[1] / ones.nnz  # so that a pair that is not observed weighs 0.1
    method = IALS(factors=64, rounds=15, conjugate=3, unobserved=weight, damping=5 / 11, frequency=0.0, dislike=0.0, prior=0.0)

    def theirs():
        # Of an observed pair implicit asks 11 (1 - s)^2, of the others s^2; ours, times 10, asks 10 (1 - s)^2 + s^2 and s^2, which
        # is 11 (10 / 11 - s)^2: the same with scores of 10 / 11, where the damping is 10 / 11 of theirs.
        model = als.AlternatingLeastSquares(64, regularization=5.0, alpha=11.0, iterations=15, num_threads=1, random_state=0)
        model.fit(ones, show_progress=False)
        return model.user_factors[:200] @ model.item_factors.T

    found, wanted = beside("iALS, fit, 64 factors, 15 rounds", lambda: fit(method, everybody.world), theirs, reference="implicit", rounds=3)
    assert np.corrcoef(scores_of_some(found, everybody.world).numpy().ravel(), wanted.ravel())[0, 1] > 0.98


def scores_of_some(learner, world):
    """Scores of the first 200 users with all of their rows as support."""
    rows = world.ratings
    count = torch.bincount(rows.entity, minlength=world.n_entities)
    first = (count.cumsum(0) - count)[:200, None]
    place = torch.arange(int(count[:200].max()))
    mask = place < count[:200, None]
    row = (first + place) * mask
    return learner.score(
        learner.adapt(Support(torch.arange(200), rows.partner[row] * mask, rows.rating[row] * mask, rows.time[row] * mask, mask))
    )
