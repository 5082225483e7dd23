"""Fine-tuning as the ablation of MAML: what moves, what does not, and that training has no inner loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines.nn.bias import DampedBias
from baselines.nn.inner_loop import whole
from baselines.nn.taste import taste
from baselines.transfer.fine_tune import FineTune
from benchmark.contract import Support
from benchmark.evaluation.evaluate import validator
from benchmark.protocol.tasks import TaskSampler
from benchmark.trust.laws import scores

GOALS = ("ranking", "rating")
MOVED = {"none": (), "all": (0, 1, 2, 3), "head": (2, 3), "bias": (1, 3)}  # of W_1, b_1, w, c


def _double(method: FineTune, world):
    """The model in float64, its offsets off their start, where a ReLU may be 0."""
    model = method.model(world, 0).double()
    model.bias = DampedBias(model.bias.mean.double(), model.bias.partner.double(), model.bias.entity_damping)
    luck = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for w in (*model.theta, model.b):
            w += 0.1 * torch.randn(w.shape, generator=luck, dtype=torch.float64)
    return model


def _as_double(support: Support) -> Support:
    return replace(support, rating=support.rating.double())


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("part", MOVED)
def test_phi_is_plain_gradient_descent_from_theta(oracle, part, goal):
    split = oracle("interaction", goal)
    method = FineTune(part=part, hidden=(7,), width=5, inner_steps=3)
    model = _double(method, split.world)
    support = _as_double(split.test.support(5)[:1])
    one = model.now()
    fast = whole(method.rule(model)(one, support))

    z, b = one.z[support.partner[0]].detach(), one.b[support.partner[0]].detach()
    left = (model.bias.residual(support) - model.bias.entity(support))[0] - b
    label = taste(support.rating, split.world, method.dislike)[0]
    phi = [w.detach().clone() for w in one.theta]
    for _ in range(method.inner_steps):
        phi = [w.requires_grad_() for w in phi]
        f = ((z @ phi[0] + phi[1]).relu() @ phi[2] + phi[3])[:, 0]
        each = torch.nn.functional.softplus(f) - label * f if goal == "ranking" else (f - left).square() / 2
        steps = torch.autograd.grad(each.sum(), phi)
        phi = [(w - method.rate(split.world) * g * (i in MOVED[part])).detach() for i, (w, g) in enumerate(zip(phi, steps, strict=True))]
    for place, (got, wanted) in enumerate(zip(fast, phi, strict=True)):
        torch.testing.assert_close(got.reshape(wanted.shape), wanted, rtol=0, atol=1e-12)
        assert (got is one.theta[place]) == (place not in MOVED[part]), "what does not move is shared, not copied"


@pytest.mark.parametrize("part", MOVED)
def test_a_ranking_moves_with_the_support_unless_nothing_is_adapted(oracle, part):
    split = oracle("interaction", "ranking")
    learner = FineTune(part=part, steps=20).fit(split.world, 0, validator(split))
    nothing, five = (scores(learner, split.test.support(k)) for k in (0, 5))
    assert torch.equal(nothing, five) == (part == "none")
    assert torch.equal(nothing, nothing[:1].expand_as(nothing)), "at zero shots phi is theta, for everyone"
    kept = {int(name.removeprefix("phi_")) for name in learner.adapt(split.test.support(5)) if name.startswith("phi_")}
    assert kept == set(MOVED[part]), "only what was moved is stored"


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("part", MOVED)
def test_joint_training_has_no_inner_loop(oracle, part, goal):
    split = oracle("interaction", goal)
    method = FineTune(part=part, hidden=(7,), width=5)
    model = _double(method, split.world)
    episode = TaskSampler(split.world, 0).sample(8)
    episode = replace(episode, support=_as_double(episode.support), query_rating=episode.query_rating.double())

    def never(one, support):
        raise AssertionError("joint training adapted")

    found = torch.autograd.grad(method.loss(model, never, episode), list(model.parameters()), allow_unused=True)
    one = model.now()
    every = tuple(w.expand(8, *w.shape) for w in one.theta)  # theta as if each task had weights of its own
    plain = torch.autograd.grad(model.outer_loss(one, every, episode), list(model.parameters()), allow_unused=True)
    assert any(g is not None and float(g.abs().max()) > 1e-6 for g in found)
    for got, wanted in zip(found, plain, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_a_part_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="part is 'tail', wanted one of none, all, head, bias"):
        FineTune(part="tail")
