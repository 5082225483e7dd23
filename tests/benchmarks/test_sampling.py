"""Training tasks: 256 at once beside one by one."""

from __future__ import annotations

import random

import pytest
import torch

from benchmark.data import store
from benchmark.protocol import boards, tracks
from benchmark.protocol.tasks import TaskSampler
from tests.reference import sampling

N_QUERY = 20


@pytest.mark.parametrize("dataset", ["ml-latest-small", pytest.param("ml-1m", marks=pytest.mark.data)])
def test_sampling(beside, timed, request, dataset):
    folder = request.getfixturevalue("real_data") if dataset == "ml-1m" else None
    world = tracks.cut(boards.load("user-ranking"), store.load(dataset, folder), 0).world
    n_tasks = 256 if timed else 32
    sampler, rows, luck = TaskSampler(world, 0, N_QUERY), sampling.histories(world.ratings), random.Random(0)
    able = sampler.able.tolist()
    assert able == [entity for entity, own in sorted(rows.items()) if len(own) > max(world.shots)]
    fast, slow = beside(
        f"256 training tasks, {dataset}",
        lambda: sampler.sample(n_tasks),
        lambda: sampling.sample(rows, able, world.shots, n_tasks, N_QUERY, luck),
        reference="dict of lists, loop over tasks",
        rounds=30,
        repeats=5,
    )
    for episode in (fast, slow):
        could_be_drawn(episode, rows, world.shots)
    assert all(one.shape == other.shape for one, other in zip(tensors(fast), tensors(slow), strict=True))


def tensors(episode):
    return [episode.support.partner, episode.support.rating, episode.pool, episode.query_partner, episode.query_rating, episode.query_mask]


def could_be_drawn(episode, rows, shots):
    """Every task shows k rows of its pool, asks for other rows of the entity, and none twice."""
    support = episode.support
    for t, entity in enumerate(support.entity.tolist()):
        own, k = dict(rows[entity]), int(support.mask[t].sum())
        pool, asked = episode.pool[t].tolist(), episode.query_partner[t, episode.query_mask[t]].tolist()
        shown = support.partner[t, support.mask[t]].tolist()
        assert k in shots
        assert shown == pool[:k]
        assert len({*pool, *asked}) == len(pool) + len(asked) == min(len(own), max(shots) + N_QUERY)
        assert support.rating[t, :k].tolist() == [own[partner] for partner in shown]
        assert episode.query_rating[t, episode.query_mask[t]].tolist() == [own[partner] for partner in asked]
    assert not torch.any(support.partner[~support.mask])
