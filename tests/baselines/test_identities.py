"""What each method must equal, by algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.collaborative.als import ALS
from baselines.metric.prototypical_network import Space, prototypes
from baselines.nn.alternating import Side
from baselines.nn.bias import DampedBias
from baselines.nn.ridge import ridge
from baselines.nn.taste import taste
from benchmark.contract import Support


def test_a_prototype_of_one_row_is_that_row():
    luck = torch.Generator().manual_seed(0)
    prior, z = torch.full((2, 3), 9.0), torch.randn(6, 3, generator=luck)
    space = Space(z, prior, torch.zeros(6), torch.tensor(0.5), torch.tensor(1.0))
    partner = torch.tensor([[0, 0], [4, 0], [5, 0]])
    mask = torch.tensor([[False, False], [True, False], [True, False]])
    one = Support(torch.arange(3), partner, torch.ones(3, 2) * mask, partner * 0, mask)
    both = prototypes(space, torch.tensor([[True] * 2, [True] * 2, [False] * 2]), one)
    assert torch.equal(both[0], prior), "an empty class is the prior"
    assert torch.equal(both[1, 0], z[4])
    assert torch.equal(both[1, 1], prior[1])
    assert torch.equal(both[2, 1], z[5])


def test_the_ridge_head_is_the_ridge_solution():
    luck = torch.Generator().manual_seed(2)
    x, y = torch.randn(2, 5, 3, generator=luck, dtype=torch.float64), torch.randn(2, 5, generator=luck, dtype=torch.float64)
    x[1, 3:], y[1, 3:] = 0.0, 0.0  # masked rows
    prior, damping = torch.randn(3, generator=luck, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    got = ridge(x, y, prior, damping)
    for t, rows in ((0, 5), (1, 3)):
        design, left = x[t, :rows].numpy(), (y[t, :rows] - x[t, :rows] @ prior).numpy()
        wanted = prior.numpy() + np.linalg.solve(design.T @ design + 0.7 * np.eye(3), design.T @ left)
        np.testing.assert_allclose(got[t].numpy(), wanted, rtol=1e-10)
    nothing = ridge(x * 0, y * 0, prior, damping)
    torch.testing.assert_close(nothing, prior.expand(2, -1))


def test_bias_is_the_damped_closed_form(oracle):
    world = oracle("additive", "rating").world
    support = oracle("additive", "rating").test.support(5)
    bias = DampedBias.fit(world)
    for t in range(4):
        left = support.rating[t, :5] - bias.mean - bias.partner[support.partner[t, :5]]
        assert bias.entity(support)[t, 0].item() == pytest.approx((left.sum() / (5 + 5)).item(), rel=1e-5)
    residual = bias.warm_residual(world)
    for p in range(5):
        rows = world.ratings.partner == p
        b_e = world.ratings.rating[rows] - bias.mean - bias.partner[p] - residual[rows]
        left = (world.ratings.rating[rows] - bias.mean - b_e).sum() / (10 + rows.sum())
        assert bias.partner[p].item() == pytest.approx(left.item(), abs=2e-3)


@pytest.mark.parametrize("goal", ["rating", "ranking"])
def test_als_folds_warm_entities_back_to_what_it_fitted(oracle, goal):
    """The half-sweep of the fit, in batches by length, gives what a support of the same rows gives."""
    world = oracle("interaction", goal).world
    learner = ALS(rounds=5).fit(world, 0, lambda _: 0.0)
    rows = world.ratings
    target = taste(rows.rating, world, ALS().dislike) if goal == "ranking" else learner.bias.warm_residual(world)
    fitted = Side(rows.entity, rows.partner, target, world.n_entities).solve(learner.factors, learner.damping, learner.unobserved)
    for entity in rows.entity.unique()[:5].tolist():
        mine = rows.entity == entity
        partner, rating = rows.partner[mine][None], rows.rating[mine][None]
        support = Support(torch.tensor([entity]), partner, rating, partner * 0, torch.ones_like(partner, dtype=torch.bool))
        torch.testing.assert_close(learner.adapt(support)["u"][0], fitted[entity], rtol=1e-3, atol=1e-4)
