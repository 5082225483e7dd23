"""Worlds whose right answer is known: what every method must reach, and what none can."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines import METHODS
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.evaluation.references import reference
from benchmark.protocol.tasks import TaskSampler
from benchmark.reporting.statistics import Bootstrap
from benchmark.running.methods import build, entry
from tests.conftest import TWO_DOMAINS

# Their order of partners reads no support, or only through a table of partners that was trained as if all entities were one.
NOT_PERSONAL = (
    "random",
    "constant",
    "user_mean",
    "popularity",
    "item_mean",
    "bias",
    "no_adaptation",
    "fine_tune",
    "fine_tune_head",
    "fine_tune_bias",
)
PERSONAL = [name for name in METHODS if name not in (*NOT_PERSONAL, *TWO_DOMAINS)]


def _skip_if_na(split, name):
    reason = build(entry(name)).unsupported(split.world)
    if reason:
        pytest.skip(f"{name} is n/a: {reason}")


def _likes_even(tasks):
    """The kind of each user [T], from what she has rated: her id tells nothing."""
    return ((tasks.pool_rating > 3) == (tasks.pool_partner % 2 == 0))[:, 0]


def _auc(split, learner, k):
    """AUC of each test task over every partner outside its pool, by its parity; ties count half."""
    scores = learner.score(learner.adapt(split.test.support(k))).detach().double()
    even = torch.arange(split.world.n_partners) % 2 == 0
    likes = even == _likes_even(split.test)[:, None]
    outside = torch.ones_like(likes).scatter(1, split.test.pool_partner, False)
    above = (scores[:, :, None] > scores[:, None, :]).double() + 0.5 * (scores[:, :, None] == scores[:, None, :]).double()
    pairs = (likes & outside)[:, :, None] & (~likes & outside)[:, None, :]
    return (above * pairs).sum((1, 2)) / pairs.sum((1, 2))


def test_the_two_kinds_of_users_are_told_apart_by_support_alone(oracle):
    split = oracle("checkerboard", "ranking")
    assert split.world.entity_features.width == 0
    assert split.world.partner_features.width == 0


@pytest.mark.parametrize("goal", ["ranking", "rating"])
@pytest.mark.parametrize("name", PERSONAL)
def test_checkerboard_is_solved_at_five_shots(oracle, fitted, name, goal):
    split = oracle("checkerboard", goal, name)
    _skip_if_na(split, name)
    auc = _auc(split, fitted(name, "checkerboard", goal), 5)
    assert auc.mean().item() == pytest.approx(1.0, abs=1e-9), f"{(auc < 1).sum()} of {len(auc)} tasks are below 1"


@pytest.mark.parametrize("goal", ["ranking", "rating"])
@pytest.mark.parametrize("name", METHODS)
def test_checkerboard_is_a_coin_at_zero_shots(oracle, fitted, name, goal):
    """AUC over the whole catalogue, each kind of user with the same weight: exactly a half, unless something tells them apart."""
    split = oracle("checkerboard", goal, name)
    _skip_if_na(split, name)
    learner = fitted(name, "checkerboard", goal)
    scores = learner.score(learner.adapt(split.test.support(0))).detach().double()
    even = torch.arange(split.world.n_partners) % 2 == 0
    above = (scores[:, even, None] > scores[:, None, ~even]).double() + 0.5 * (scores[:, even, None] == scores[:, None, ~even]).double()
    kind = _likes_even(split.test)
    auc = torch.where(kind, above.mean((1, 2)), 1 - above.mean((1, 2)))
    assert 5 < kind.sum() < len(kind) - 5
    balanced = (auc[kind].mean() + auc[~kind].mean()).item() / 2
    assert balanced == pytest.approx(0.5, abs=0.03 if name == "random" else 1e-9)


def _mae_of_tasks(split, learner):
    """The mean over k >= 1 of each test task."""
    found = evaluate(learner, split.board, split.world, split.test)
    return found.columns["mae"].reshape(len(found.shots), len(split.test))[1:].mean(0)


def _against_bias(oracle, fitted, world, name):
    """The MAE of a method less that of bias, paired by task of one and the same split: an interval."""
    split = oracle(world, "rating", name)
    _skip_if_na(split, name)
    ours = _mae_of_tasks(split, fitted(name, world, "rating"))
    bias = _mae_of_tasks(split, build(entry("bias")).fit(split.world, split.seed, lambda _: 0.0))
    return Bootstrap([0] * len(ours)).intervals(np.stack([ours - bias], 1))[0]


RATING = [name for name in METHODS if name not in ("popularity", "bias", *TWO_DOMAINS)]


@pytest.mark.parametrize("name", RATING)
def test_on_an_additive_world_nothing_beats_bias(oracle, fitted, name):
    gap = _against_bias(oracle, fitted, "additive", name)
    assert gap.high > 0, f"{name} beats the truth by {-gap.mean:.4f}, to {-gap.high:.4f} at least: look for the leak"
    if name not in ("random", "constant", "user_mean", "item_mean"):
        assert gap.mean < 0.06, f"{name} sees {gap.mean:.4f} of taste where there is none"


def test_on_an_additive_world_bias_reaches_the_noise(oracle, fitted):
    floor = (2 / np.pi) ** 0.5  # the mean absolute value of the noise
    assert _mae_of_tasks(oracle("additive", "rating"), fitted("bias", "additive", "rating")).mean() == pytest.approx(floor, abs=0.08)


@pytest.mark.parametrize("name", [name for name in RATING if name not in NOT_PERSONAL])
def test_on_an_interaction_world_every_personal_method_beats_bias(oracle, fitted, name):
    gap = _against_bias(oracle, fitted, "interaction", name)
    assert gap.high < 0, f"{name}: {gap.mean:+.3f} against bias"


def test_als_fold_in_is_the_ridge_solution(oracle, fitted):
    split = oracle("interaction", "rating")
    learner = fitted("als", "interaction", "rating")
    support = split.test.support(10)
    u = learner.adapt(support)["u"].numpy()
    for t in range(5):
        v = learner.factors[support.partner[t, support.mask[t]]].double().numpy()
        left = (learner.bias.residual(support) - learner.bias.entity(support))[t, support.mask[t]].double().numpy()
        wanted = np.linalg.solve(v.T @ v + learner.damping * np.eye(v.shape[1]), v.T @ left)
        np.testing.assert_allclose(u[t], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("goal", ["ranking", "rating"])
def test_references_frame_every_table(oracle, goal):
    split = oracle("interaction", goal)
    chance = reference("chance", split.board, split.world, split.test)
    best = reference("oracle", split.board, split.world, split.test)
    metric = split.board.metric
    sign = 1 if split.board.higher_is_better else -1
    assert sign * best.area(metric) > sign * chance.area(metric)
    assert best.area(metric) == (1.0 if goal == "ranking" else 0.0)


def test_random_reaches_the_analytic_chance_row(oracle, fitted):
    split = oracle("interaction", "ranking")
    random = evaluate(fitted("random", "interaction", "ranking"), split.board, split.world, split.test)
    chance = reference("chance", split.board, split.world, split.test)
    for metric in ("ndcg@10", "recall@10", "mrr@10"):
        error = random.columns[metric].std() / len(split.test) ** 0.5
        assert random.mean(metric, 1) == pytest.approx(chance.mean(metric, 1), abs=4 * error)


@pytest.mark.parametrize("goal", ["ranking", "rating"])
def test_meta_batches_of_a_thousand_and_more(many, monkeypatch, goal):
    split, sample, asked = many(goal), TaskSampler.sample, []
    monkeypatch.setattr(TaskSampler, "sample", lambda self, n_tasks: asked.append(n_tasks) or sample(self, n_tasks))
    maml, bias = (build(one) for one in (entry("maml", {"tasks_per_step": 1024, "steps": 20}), entry("bias")))
    learners = [method.fit(split.world, split.seed, validator(split)) for method in (maml, bias)]
    areas = [evaluate(learner, split.board, split.world, split.test).area(split.board.metric) for learner in learners]
    assert areas[0] > areas[1] if split.board.higher_is_better else areas[0] < areas[1]
    assert asked == [1024] * 20
