"""Timings beside their slow references; run with `tox -e bench`, printed and not asserted."""

from __future__ import annotations

import pytest
import torch

from benchmark.data import movielens, store
from benchmark.data.catalogue import SOURCES
from benchmark.evaluation import metrics
from benchmark.protocol import boards, tracks
from benchmark.protocol.tasks import TaskSampler
from tests.reference import metrics as loops

USERS, ITEMS = 1_024, 3_706


@pytest.fixture(scope="module")
def scores():
    luck = torch.Generator().manual_seed(0)
    return torch.rand(USERS, ITEMS, generator=luck), torch.rand(USERS, ITEMS, generator=luck) < 0.02


def _measure(scores, relevant):
    places = metrics.top_places(scores, relevant)
    return metrics.ranking(places, relevant.sum(1))


@pytest.mark.benchmark(group=f"ndcg, recall and mrr @10, {USERS} users x {ITEMS} items")
@pytest.mark.parametrize("ties", ["none", "coarse", "constant"])
def test_metrics(benchmark, scores, ties):
    values, relevant = scores
    made = {"none": values, "coarse": (values * 50).floor(), "constant": torch.zeros_like(values)}[ties]
    found = benchmark(_measure, made, relevant)
    assert found["ndcg@10"].isfinite().all()


@pytest.mark.benchmark(group=f"ndcg, recall and mrr @10, {USERS} users x {ITEMS} items")
def test_metrics_as_loops_for_one_user_in_a_thousand(benchmark, scores):
    values, relevant = (part[0].tolist() for part in scores)
    found = benchmark(loops.ranking, values, relevant)
    assert 0 <= found["ndcg@10"] <= 1


@pytest.mark.benchmark(group="training tasks, 256 at once")
def test_sampler(benchmark):
    split = tracks.cut(boards.load("user-ranking"), store.load("ml-latest-small"), 0)
    sampler = TaskSampler(split.world, 0)
    assert len(benchmark(sampler.sample, 256).support) == 256


@pytest.mark.benchmark(group="one split of latest-small")
def test_cut(benchmark):
    dataset, board = store.load("ml-latest-small"), boards.load("user-ranking")
    assert len(benchmark(tracks.cut, board, dataset, 0).test) > 100


@pytest.mark.data
@pytest.mark.benchmark(group="parse ML-1M")
def test_parse_ml_1m(benchmark, real_data):
    place = store.find("ml-1m", real_data)
    with store.opened(SOURCES["ml-1m"], place) as files:
        assert len(benchmark(movielens.ml_1m, files)) == 1_000_209


@pytest.mark.data
@pytest.mark.benchmark(group="ML-1M from its cached columns")
def test_cached_ml_1m(benchmark, real_data, own_cache):
    store.load("ml-1m", real_data)
    assert len(benchmark(store.load, "ml-1m", real_data)) == 1_000_209
