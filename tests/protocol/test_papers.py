"""The presets of old papers: the published counts, disjoint roles, whole histories of any length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.contract import Learner
from benchmark.data import store, synthetic
from benchmark.errors import MethodError, ProtocolError, UsageError
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.evaluation.references import reference
from benchmark.protocol import boards, tracks
from benchmark.protocol.boards import Pin


def _triples(entity, partner, rating):
    return set(zip(entity.tolist(), partner.tolist(), rating.tolist(), strict=True))


def _of(tasks):
    """(support, query) rows of tasks as sets of (entity, partner, rating)."""
    task, _ = torch.nonzero(tasks.pool_mask, as_tuple=True)
    shown = _triples(tasks.entity[task], tasks.pool_partner[tasks.pool_mask], tasks.pool_rating[tasks.pool_mask])
    return shown, _triples(tasks.entity[tasks.query_task()], tasks.query_partner, tasks.query_rating)


@pytest.fixture(scope="module")
def folds():
    board = replace(boards.load("papers/surprise"), datasets={"any": Pin(5, ())})
    dataset = synthetic.interaction()
    keep = np.random.default_rng(0).random(len(dataset)) < 0.6  # histories of many lengths
    dataset = replace(dataset, **{name: getattr(dataset, name)[keep] for name in ("user", "item", "rating", "time")})
    return dataset, [tracks.cut(board, dataset, seed) for seed in range(5)]


def test_each_row_is_asked_in_one_fold_and_trains_in_the_others(folds):
    dataset, splits = folds
    asked = 0
    for split in splits:
        shown, query = _of(split.test)
        warm = split.world.ratings
        training = _triples(warm.entity, warm.partner, warm.rating)
        assert not query & training
        assert shown <= training, "a known user's support is what she has in the training set"
        assert len(query | training) == len(dataset)
        asked += len(query)
    assert asked == len(dataset)
    with pytest.raises(ProtocolError, match="folds 0 to 4, not 5"):
        tracks.cut(splits[0].board, dataset, 5)


def test_a_support_of_any_length_is_shown_whole(folds):
    _, splits = folds
    tasks = splits[0].test
    support = tasks.support(boards.ALL)
    assert torch.equal(support.mask, tasks.pool_mask)
    assert len(support.count().unique()) > 5
    for column in (support.partner, support.rating):
        assert not column[~support.mask].any()
    for part in tasks.batches(16):
        assert part.pool_mask.any(0).all(), "a batch is trimmed to its longest"
    withheld = ~tasks.candidates()
    assert torch.equal(withheld.sum(1), tasks.pool_mask.sum(1))
    assert bool(withheld.gather(1, tasks.pool_partner)[tasks.pool_mask].all())
    assert max(splits[0].world.shots) < support.mask.shape[1], "the lengths to come are those of most users"


class _Perfect(Learner):
    """Answers with the truth but for a gap of one at each task's first query row."""

    def __init__(self, tasks):
        self.tasks = tasks

    def adapt(self, support):
        return {"entity": support.entity}

    def score(self, state, partner=None):
        place = torch.searchsorted(*(self.tasks.entity.sort().values, state["entity"]))
        order = self.tasks.entity.argsort()[place]
        _, rating, _ = self.tasks.padded_query()
        found = rating[order][:, : partner.shape[1]].clone()
        found[:, 0] += torch.where(found[:, 0] > 5, -1.0, 1.0)
        return found


def test_pooled_errors_count_rows_and_the_others_count_tasks(folds):
    _, splits = folds
    split = splits[0]
    found = evaluate(_Perfect(split.test), split.board, split.world, split.test)
    rows, tasks = len(split.test.query_partner), len(split.test)
    assert found.whole["pooled-mae"][boards.ALL] == pytest.approx(tasks / rows, abs=1e-6)
    assert found.whole["pooled-rmse"][boards.ALL] == pytest.approx((tasks / rows) ** 0.5, abs=1e-6)
    n = split.test.query_offset.diff().double()
    assert found.mean("mae", boards.ALL) == pytest.approx(float((1 / n).mean()), abs=1e-6)
    assert "pooled-mae" not in reference("chance", boards.load("user-rating"), split.world, split.test).whole


def test_nothing_is_validated_where_there_is_nobody_to_validate_on(folds):
    _, splits = folds
    assert len(splits[0].validation) == 0
    with pytest.raises(MethodError, match="no validation entities"):
        validator(splits[0])(_Perfect(splits[0].test))


def test_melu_asks_for_its_split():
    with pytest.raises(ProtocolError, match="comes with MeLU's split"):
        tracks.cut(boards.load("papers/melu"), synthetic.interaction(), 0)


def test_a_row_of_a_preset_that_is_no_row():
    table = {"name": "papers/x", "title": "", "description": "", "track": "warm", "goal": "rating", "cut": "folds", "shots": ["all"]}
    table |= {"relevant_from": 4.0, "metric": "rmse", "datasets": {}}
    assert boards.parse(table, "x.toml").shots == (boards.ALL,)
    with pytest.raises(UsageError, match=r"\[\[rows\]\] holds"):
        boards.parse({**table, "rows": [{"model": "bias"}]}, "x.toml")


STATES = {"papers/melu-warm": 2_653, "papers/melu": 668, "papers/melu-item": 2_863, "papers/melu-both": 723}


@pytest.mark.data
@pytest.mark.parametrize("name", STATES)
def test_melu_states_hold_the_published_tasks(real_data, name):
    dataset, board = store.load("ml-1m-melu", real_data), boards.load(name)
    splits = [tracks.cut(board, dataset, seed) for seed in range(15)]
    assert tuple(split.fingerprint for split in splits) == board.pin("ml-1m-melu").fingerprints
    asked = [tracks.published_entities(split, split.test).tolist() for split in splits]
    for draw in range(5):  # each draw asks every user of the state once
        users = [user for part in asked[3 * draw : 3 * draw + 3] for user in part]
        assert len(users) == len(set(users)) == STATES[name] == splits[0].counts["eligible"]
    assert asked[0] == asked[3], "another draw of a slice asks the same users"
    assert len({tuple(split.test.query_partner.tolist()) for split in splits}) == 15
    assert splits[0].counts["warm"] == 4_832
    for split in splits:
        assert split.test.query_offset.diff().unique().tolist() == [10]
        rows = split.test.pool_mask.sum(1)
        assert (rows.min(), rows.max()) >= (3, 3)
        assert rows.max() <= 90
        warm = split.world.ratings
        training = _triples(warm.entity, warm.partner, warm.rating)
        for tasks in (split.test, split.validation):
            shown, query = _of(tasks)
            assert not query & training
            assert not query & shown
            assert name == "papers/melu-warm" or not shown & training
