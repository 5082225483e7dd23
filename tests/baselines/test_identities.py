"""What each method must equal, by algebra."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines.collaborative.als import ALS, _Side
from baselines.gradient.maml import MAML, adapt
from baselines.metric.prototypical_network import Space, prototypes
from baselines.nn.bias import DampedBias
from baselines.nn.taste import taste
from benchmark.contract import Support


@pytest.fixture
def task():
    """Three tasks of 0, 2 and 4 rows over 6 partners, in float64."""
    luck = torch.Generator().manual_seed(0)
    mask = torch.arange(4) < torch.tensor([0, 2, 4])[:, None]
    partner = torch.stack([torch.randperm(6, generator=luck)[:4] for _ in range(3)]) * mask
    rating = torch.rand(3, 4, generator=luck, dtype=torch.float64) * 4 + 1
    support = Support(torch.arange(3), partner, rating * mask, partner * 0, mask)
    z, b = torch.randn(6, 3, generator=luck, dtype=torch.float64), torch.randn(6, generator=luck, dtype=torch.float64)
    theta = torch.randn(4, generator=luck, dtype=torch.float64)
    target = torch.rand(3, 4, generator=luck, dtype=torch.float64)
    return z, theta, b, target, support


def _outer(method, z, theta, b, target, support, goal):
    phi = adapt(method, z, theta, b, target, support, goal)
    f = phi[:, :-1] @ z.T + phi[:, -1:] + b
    return (f - torch.linspace(-1, 1, 6, dtype=torch.float64)).square().mean()


@pytest.mark.parametrize("goal", ["ranking", "rating"])
def test_the_inner_step_is_the_gradient_of_the_inner_loss(task, goal):
    z, theta, b, target, support = task
    method = MAML(inner_steps=1, inner_rate=0.3, rating_inner_rate=0.3)
    phi = theta.expand(3, -1).clone().requires_grad_()
    f = (z[support.partner] @ phi[:, :-1, None]).squeeze(2) + phi[:, -1:]
    if goal == "ranking":
        loss = torch.nn.functional.binary_cross_entropy_with_logits(f, target, weight=support.mask.double(), reduction="sum")
    else:
        loss = ((f + b[support.partner] - target).square() * support.mask).sum() / 2
    (gradient,) = torch.autograd.grad(loss, phi)
    got = adapt(method, z, theta, b, target, support, goal)
    torch.testing.assert_close(got, theta - 0.3 * gradient, rtol=0, atol=1e-12)
    assert torch.equal(got[0], theta), "at zero shots the answer is theta"


@pytest.mark.parametrize("goal", ["ranking", "rating"])
def test_maml_is_second_order_and_says_when_it_is_not(task, goal):
    z, theta, b, target, support = task
    method = MAML(inner_steps=3, inner_rate=0.3, rating_inner_rate=0.3)
    for which in ("theta", "z", "b"):
        parts = {"z": z.clone(), "theta": theta.clone(), "b": b.clone()}
        parts[which].requires_grad_()
        (gradient,) = torch.autograd.grad(_outer(method, **parts, target=target, support=support, goal=goal), parts[which])
        numeric = torch.zeros_like(gradient)
        for i in range(gradient.numel()):
            ends = []
            for step in (1e-5, -1e-5):
                moved = parts[which].detach().clone()
                moved.view(-1)[i] += step
                ends.append(_outer(method, **{**parts, which: moved}, target=target, support=support, goal=goal).item())
            numeric.view(-1)[i] = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close(gradient, numeric, rtol=1e-5, atol=1e-8)
    theta = theta.clone().requires_grad_()
    exact = torch.autograd.grad(_outer(method, z, theta, b, target, support, goal), theta)[0]
    first = torch.autograd.grad(_outer(replace(method, second_order=False), z, theta, b, target, support, goal), theta)[0]
    assert (exact - first).abs().max() > 1e-2
    phi = adapt(method, z, theta, b, target, support, goal).detach().requires_grad_()
    f = phi[:, :-1] @ z.T + phi[:, -1:] + b
    at_phi = torch.autograd.grad((f - torch.linspace(-1, 1, 6, dtype=torch.float64)).square().mean(), phi)[0].sum(0)
    torch.testing.assert_close(first, at_phi, rtol=0, atol=1e-12)  # the gradient at the adapted weights


def test_on_a_quadratic_one_step_is_one_step():
    """rating goal: L = |X phi - y|^2 / 2, so phi_1 = theta - rate (H theta - X'y) and d phi_1 / d theta = I - rate H."""
    luck = torch.Generator().manual_seed(1)
    z, theta = torch.randn(5, 2, generator=luck, dtype=torch.float64), torch.randn(3, generator=luck, dtype=torch.float64)
    partner = torch.tensor([[0, 3, 4]])
    support = Support(torch.zeros(1, dtype=torch.int64), partner, torch.ones(1, 3), partner * 0, torch.ones(1, 3, dtype=torch.bool))
    y = torch.randn(1, 3, generator=luck, dtype=torch.float64)
    b = torch.zeros(5, dtype=torch.float64)
    method = MAML(inner_steps=1, rating_inner_rate=0.05)
    x = torch.cat([z[partner[0]], torch.ones(3, 1, dtype=torch.float64)], 1)
    hessian = x.T @ x
    jacobian = torch.autograd.functional.jacobian(lambda t: adapt(method, z, t, b, y, support, "rating")[0], theta)
    torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64) - 0.05 * hessian)
    wanted = theta - 0.05 * (hessian @ theta - x.T @ y[0])
    torch.testing.assert_close(adapt(method, z, theta, b, y, support, "rating")[0], wanted)


def test_a_prototype_of_one_row_is_that_row(task):
    z, _, b, _, support = task
    prior = torch.full((2, 3), 9.0, dtype=torch.float64)
    space = Space(z.float(), prior.float(), b.float(), torch.tensor(0.5), torch.tensor(1.0))
    one = replace(support, mask=torch.arange(4) < torch.tensor([0, 1, 1])[:, None])
    both = prototypes(space, torch.tensor([[True] * 4, [True] * 4, [False] * 4]), one)
    assert torch.equal(both[0], prior.float()), "an empty class is the prior"
    assert torch.equal(both[1, 0], space.z[support.partner[1, 0]])
    assert torch.equal(both[1, 1], prior[1].float())
    assert torch.equal(both[2, 1], space.z[support.partner[2, 0]])


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
    fitted = _Side(rows.entity, rows.partner, target, world.n_entities).solve(learner.factors, learner.damping, learner.unobserved)
    for entity in rows.entity.unique()[:5].tolist():
        mine = rows.entity == entity
        partner, rating = rows.partner[mine][None], rows.rating[mine][None]
        support = Support(torch.tensor([entity]), partner, rating, partner * 0, torch.ones_like(partner, dtype=torch.bool))
        torch.testing.assert_close(learner.adapt(support)["u"][0], fitted[entity], rtol=1e-3, atol=1e-4)
