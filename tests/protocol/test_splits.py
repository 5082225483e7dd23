"""Cuts, tasks and worlds: nothing leaks, everything nests, and the same ids give the same split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.data import store, synthetic
from benchmark.data.dataset import Tags, build
from benchmark.errors import MethodError, ProtocolError
from benchmark.protocol import boards, random_cuts, tracks
from benchmark.protocol.fingerprint import check_fingerprint
from benchmark.protocol.tasks import TaskSampler
from tests.conftest import board


@pytest.fixture(scope="module")
def small():
    return store.load("ml-latest-small")


def _all_splits(dataset, name):
    loaded = boards.load(name)
    return [tracks.cut(loaded, dataset, i) for i in range(loaded.pin(dataset.name).seeds)]


@pytest.mark.parametrize("name", ["user-ranking", "user-rating"])
def test_the_embedded_splits_are_the_pinned_ones(small, name):
    pins = boards.load(name).pin(small.name).fingerprints
    assert tuple(split.fingerprint for split in _all_splits(small, name)) == pins
    assert len(set(pins)) == len(pins)


@pytest.mark.data
@pytest.mark.parametrize("dataset", ["ml-100k", "ml-1m"])
@pytest.mark.parametrize("name", ["user-ranking", "user-rating"])
def test_the_other_splits_are_the_pinned_ones(real_data, name, dataset):
    loaded = store.load(dataset, real_data)
    assert tuple(split.fingerprint for split in _all_splits(loaded, name)) == boards.load(name).pin(dataset).fingerprints


def _published(split, dataset):
    """The file's index of each entity id of a split."""
    return np.argsort(split.labels.entity)


def test_five_seeds_test_every_eligible_user_once(small):
    splits = _all_splits(small, "user-rating")
    tested = np.concatenate([_published(split, small)[split.test.entity] for split in splits])
    rows = np.bincount(small.user)
    assert sorted(tested.tolist()) == np.flatnonzero(rows >= 25).tolist()
    assert len(tested) == 547


@pytest.mark.parametrize("name", ["user-ranking", "user-rating"])
def test_training_support_and_query_are_disjoint(small, name):
    for split in _all_splits(small, name):
        cold = set(split.validation.entity.tolist()) | set(split.test.entity.tolist())
        assert not set(split.validation.entity.tolist()) & set(split.test.entity.tolist())
        assert not cold & set(split.world.ratings.entity.unique().tolist())
        user = _published(split, small)
        for tasks in (split.validation, split.test):
            mine = user[tasks.entity].tolist()
            asked = set(zip(user[tasks.entity[tasks.query_task()]].tolist(), tasks.query_partner.tolist(), strict=True))
            pool = {(u, p) for u, row in zip(mine, tasks.pool_partner.tolist(), strict=True) for p in row}
            assert not asked & pool
            rows = set(zip(small.user.tolist(), small.item.tolist(), strict=True))
            assert {pair for pair in rows if pair[0] in set(mine)} == asked | pool


@pytest.mark.parametrize("name", ["user-ranking", "user-rating"])
def test_ids_of_cold_users_do_not_tell_when_they_came(small, name):
    """In the file ids rise with the day of arrival; in a split their order is drawn."""
    for split in _all_splits(small, name):
        entity = torch.cat([split.test.entity, split.validation.entity]).numpy()
        assert abs(np.corrcoef(np.argsort(np.argsort(entity)), np.argsort(np.argsort(_published(split, small)[entity])))[0, 1]) < 0.25
        user, ratings = _published(split, small), split.world.ratings
        warm = np.isin(small.user, user[np.unique(ratings.entity)])
        pairs = sorted(zip(user[ratings.entity].tolist(), ratings.partner.tolist(), ratings.rating.tolist(), strict=True))
        assert pairs == list(zip(small.user[warm].tolist(), small.item[warm].tolist(), small.rating[warm].tolist(), strict=True))
        assert (np.diff(ratings.entity.numpy() * split.world.n_partners + ratings.partner.numpy()) > 0).all(), "rows stay sorted"


@pytest.mark.data
def test_features_follow_their_user(real_data):
    loaded = store.load("ml-100k", real_data)
    split = tracks.cut(boards.load("user-rating"), loaded, 0)
    user = _published(split, loaded)
    assert torch.equal(split.world.entity_features.categorical, torch.from_numpy(loaded.users.categorical[user]))


def test_supports_are_nested_and_hide_the_rest(small):
    tasks = tracks.cut(boards.load("user-ranking"), small, 0).test
    before = tasks.support(0)
    assert not before.mask.any()
    for k in (1, 2, 5, 10, 20):
        now = tasks.support(k)
        assert now.count().unique().tolist() == [float(k)]
        was = before.mask.shape[1]
        assert torch.equal(now.partner[:, :was][before.mask], before.partner[before.mask])
        for column in (now.partner, now.rating, now.time):
            assert not column[~now.mask].any(), "what is not shown yet is not in the tensor"
        before = now


def test_a_batch_of_tasks_is_its_tasks(small):
    tasks = tracks.cut(boards.load("user-ranking"), small, 0).test
    parts = list(tasks.batches(16))
    assert sum(map(len, parts)) == len(tasks)
    assert torch.equal(torch.cat([part.query_partner for part in parts]), tasks.query_partner)
    for part in parts:
        partner, rating, mask = part.padded_query()
        assert torch.equal(partner[mask], part.query_partner)
        assert torch.equal(rating[mask], part.query_rating)


def test_every_ranking_task_has_something_to_find(small):
    split = tracks.cut(boards.load("user-ranking"), small, 0)
    found = torch.zeros(len(split.test)).index_add_(0, split.test.query_task(), (split.test.query_rating >= 4.0).float())
    assert (found > 0).all()


def test_the_order_of_rows_in_the_file_changes_nothing(small):
    luck = np.random.default_rng(0).permutation(len(small))
    rows = (small.users.ids[small.user][luck], small.items.ids[small.item][luck], small.rating[luck], small.time[luck])
    again = build(small.name, small.sha256, rows, (small.users, small.items), small.rating_range, small.tags)
    shuffled = tracks.cut(boards.load("user-ranking"), again, 0)
    assert shuffled.fingerprint == tracks.cut(boards.load("user-ranking"), small, 0).fingerprint


def test_cold_users_tags_and_ratings_reach_no_feature(small):
    """Whatever the cold users wrote or rated, the world is the same."""
    loaded = boards.load("user-ranking")
    split = tracks.cut(loaded, small, 0)
    cold = np.isin(np.arange(len(small.users)), _published(split, small)[torch.cat([split.test.entity, split.validation.entity])])
    mine = cold[small.tags.user]
    assert mine.sum() > 100
    without = Tags(small.tags.user[~mine], small.tags.item[~mine], small.tags.word[~mine], small.tags.words)
    rating = np.where(cold[small.user], small.rating_range[1], small.rating).astype(np.float32)
    other = tracks.cut(loaded, replace(small, tags=without, rating=rating), 0)
    assert torch.equal(other.world.partner_features.multi_hot, split.world.partner_features.multi_hot)
    assert torch.equal(other.world.ratings.rating, split.world.ratings.rating)
    assert torch.equal(other.world.partner_is_warm, split.world.partner_is_warm)


def test_a_data_set_too_small_for_its_shots_is_one_sentence():
    tiny = synthetic.checkerboard(n_users=20, rows=12)
    with pytest.raises(ProtocolError, match=r"needs entities with 15 rows or more .* has 0 of them where 10 are wanted"):
        tracks.cut(board("ranking"), tiny, 0)
    with pytest.raises(ProtocolError, match="has seeds 0 to 4"):
        tracks.cut(board("ranking"), synthetic.checkerboard(), 5)


def test_a_board_without_a_relevant_row_is_one_sentence():
    nobody_likes = replace(board("ranking"), relevant_from=6.0)
    with pytest.raises(ProtocolError, match="0 test and 0 validation tasks"):
        tracks.cut(nobody_likes, synthetic.checkerboard(), 0)


def test_a_fingerprint_that_differs_refuses():
    with pytest.raises(ProtocolError, match=r"fingerprint aa and the board pins bb; .*nothing was run"):
        check_fingerprint("b", "d", 0, "aa", "bb")


def test_whatever_changes_the_split_changes_the_fingerprint():
    dataset = synthetic.checkerboard()
    base = tracks.cut(board("rating"), dataset, 0).fingerprint
    assert tracks.cut(board("rating"), dataset, 0).fingerprint == base
    others = [
        tracks.cut(board("rating"), dataset, 1),
        tracks.cut(board("rating", (0, 1, 2, 5)), dataset, 0),
        tracks.cut(replace(board("rating"), relevant_from=3.0), dataset, 0),
        tracks.cut(board("rating"), replace(dataset, sha256="0" * 64), 0),
        tracks.cut(board("rating"), synthetic.checkerboard(seed=1), 0),
    ]
    assert len({base, *(other.fingerprint for other in others)}) == 6


def test_slices_partition_the_eligible():
    rows = np.full(2_500, 30)
    parts = [random_cuts.random_cut(board("rating"), synthetic.checkerboard(), rows, i) for i in range(10)]
    assert sorted(np.concatenate([part.test for part in parts]).tolist()) == list(range(2_500))
    for i, part in enumerate(parts):
        assert part.validation.tolist() == parts[(i + 1) % 10].test.tolist()


def test_training_tasks_look_like_test_tasks(small):
    split = tracks.cut(boards.load("user-ranking"), small, 0)
    world = split.world
    sampler = TaskSampler(world, seed=3, n_query=15)
    pairs = set(zip(world.ratings.entity.tolist(), world.ratings.partner.tolist(), strict=True))
    seen = set()
    for _ in range(4):
        episode = sampler.sample(64)
        support = episode.support
        seen |= set(support.count().int().tolist())
        for t in range(64):
            entity, k = int(support.entity[t]), int(support.count()[t])
            pool = episode.pool[t].tolist()
            query = episode.query_partner[t][episode.query_mask[t]].tolist()
            assert support.partner[t, :k].tolist() == pool[:k]
            assert len(set(pool)) == len(pool) == 20
            assert len(set(query)) == len(query) >= 1
            assert not set(pool) & set(query)
            assert all((entity, partner) in pairs for partner in pool + query)
    assert seen == set(world.shots)


def test_training_tasks_repeat_with_their_seed(small):
    world = tracks.cut(boards.load("user-ranking"), small, 0).world
    one, same, other = (TaskSampler(world, seed).sample(32) for seed in (1, 1, 2))
    assert torch.equal(one.pool, same.pool)
    assert not torch.equal(one.pool, other.pool)


def test_training_tasks_need_a_history():
    split = tracks.cut(board("rating"), synthetic.checkerboard(), 0)
    with pytest.raises(MethodError, match="no warm entity has more than 50 rows"):
        TaskSampler(replace(split.world, shots=(0, 50)), 0)
