"""Implicit feedback, a scale of one rating: every method that ranks is fitted and answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines import METHODS
from benchmark.evaluation.evaluate import validator
from benchmark.running.methods import build, entry
from benchmark.trust.laws import scores

SHORTER = ("steps", "base_steps", "rounds", "epochs")
RANK_NOTHING = ("user_mean", "svd", "svdpp")
CARRIED_OVER = ("emcdr", "ptupcdr")  # from one domain to another


def _implicit(split, name):
    """The same rows, of which nothing is said but that they are there."""
    ratings = replace(split.world.ratings, rating=torch.ones_like(split.world.ratings.rating))
    parts = {
        part: replace(tasks, pool_rating=tasks.pool_mask.float(), query_rating=torch.ones_like(tasks.query_rating))
        for part, tasks in (("validation", split.validation), ("test", split.test))
    }
    world = replace(split.world, ratings=ratings, rating_range=(1.0, 1.0), relevant_from=1.0)
    if name in CARRIED_OVER:
        domain = torch.arange(world.n_partners) % 2
        world = replace(world, partner_domain=domain, partner_is_ranked=domain == 0)
    return replace(split, world=world, board=replace(split.board, relevant_from=1.0), **parts)


@pytest.mark.parametrize("name", METHODS)
def test_a_scale_of_one_rating_is_an_ordinary_world(oracle, name):
    split = _implicit(oracle("interaction", "ranking", name), name)
    plain = build(entry(name))
    if plain.unsupported(split.world):
        assert name in RANK_NOTHING
        pytest.skip("n/a at this goal")
    method = build(entry(name, {field: 3 for field in SHORTER if hasattr(plain, field)}))
    learner = method.fit(split.world, 0, validator(split))
    for shots in (0, 5):
        support = split.test.support(shots)
        got = scores(learner, support.checked(split.world))
        assert got.shape == (len(support), split.world.n_partners)
        assert got.isfinite().all(), f"at {shots} shots"
