"""Every method on supports that are odd but allowed, and the sentence for those that are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines import METHODS
from baselines.nn import chunks
from benchmark.contract import Features, Support
from benchmark.errors import MethodError
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.running.methods import build, entry
from benchmark.trust.laws import scores

GOALS = ("ranking", "rating")


def _support(world, partner, rating, entity=0):
    mask = torch.ones(1, len(partner), dtype=torch.bool)
    columns = torch.tensor([partner]), torch.tensor([rating], dtype=torch.float32)
    return Support(torch.tensor([entity]), *columns, torch.zeros(1, len(partner), dtype=torch.int64), mask)


def _learner(oracle, fitted, name, goal):
    split = oracle("interaction", goal, name)
    if build(entry(name)).unsupported(split.world):
        pytest.skip("n/a at this goal")
    return split.world, fitted(name, "interaction", goal)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", METHODS)
def test_one_row_equal_ratings_and_the_ends_of_the_scale(oracle, fitted, name, goal):
    world, learner = _learner(oracle, fitted, name, goal)
    low, high = world.rating_range
    for partner, rating in (([3], [high]), ([3], [low]), (list(range(10)), [high] * 10), (list(range(10)), [low] * 10)):
        support = _support(world, partner, rating).checked(world)
        got = scores(learner, support)
        assert got.shape == (1, world.n_partners)
        assert got.isfinite().all()


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ["melu", "mamo", "maml", "relation_network", "neural_process"])
def test_more_tasks_than_fit_at_once_are_scored_in_runs(oracle, fitted, name, goal, monkeypatch):
    split = oracle("interaction", goal, name)
    learner, support = fitted(name, "interaction", goal), split.test.support(5)
    whole = scores(learner, support)
    monkeypatch.setattr(chunks, "ON_CPU", 1)
    torch.testing.assert_close(scores(learner, support), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"partner": torch.tensor([[80, 1]])}, r"task 0, row 0: partner is 80, wanted 0 to 79"),
        ({"partner": torch.tensor([[1, -1]])}, r"task 0, row 1: partner is -1, wanted 0 to 79"),
        ({"entity": torch.tensor([600])}, r"task 0: entity is 600, wanted 0 to 599"),
        ({"rating": torch.tensor([[5.0, 11.0]])}, r"task 0, row 1: rating is 11, wanted 0 to 10"),
        ({"rating": torch.tensor([[float("nan"), 1.0]])}, r"row 0: rating is nan"),
        ({"mask": torch.tensor([[True, False]])}, r"row 1: rating is 6, wanted 0 where masked out"),
    ],
)
def test_a_support_that_cannot_be_is_one_sentence(oracle, change, sentence):
    world = oracle("interaction", "rating").world
    good = _support(world, [1, 2], [5.0, 6.0])
    assert good.checked(world) is good
    with pytest.raises(ValueError, match=sentence):
        replace(good, **change).checked(world)


@pytest.mark.parametrize("name", ["melu", "prompt_tuning_text"])
def test_an_empty_feature_block_is_a_reason_to_print(oracle, name):
    assert build(entry(name)).unsupported(oracle("interaction", "rating").world)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("random", "popularity", "item_mean", "bias")])
def test_features_of_the_entity_are_read_without_harm(oracle, name, goal):
    """A world that knows nothing of its partners but three blocks of its entities."""
    split = oracle("interaction", goal, name)
    method = build(entry(name, {field: 3 for field in ("steps", "base_steps", "rounds") if hasattr(build(entry(name)), field)}))
    luck, n = torch.Generator().manual_seed(0), split.world.n_entities
    known = Features(
        torch.randint(4, (n, 2), generator=luck),
        (torch.rand(n, 5, generator=luck) < 0.3).float(),
        torch.randn(n, 1, generator=luck),
        (4, 4),
    )
    world = replace(split.world, entity_features=known)
    found = evaluate(method.fit(world, 0, validator(split)), split.board, world, split.test)
    assert found.area(split.board.metric) > 0


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ["maml", "fomaml", "meta_sgd", "anil", "reptile", "mamo"])
def test_gradient_methods_adapt_deep_networks_too(oracle, name, goal):
    split = oracle("interaction", goal)
    learner = build(entry(name, {"hidden": (12, 8), "steps": 3, "negatives": 16})).fit(split.world, 0, validator(split))
    support = split.test.support(5)
    alone = scores(learner, support[3:4])
    torch.testing.assert_close(scores(learner, support)[3:4], alone, rtol=1e-4, atol=1e-4)
    partner = torch.tensor([[7, 3, 79]]).expand(len(support), -1)
    torch.testing.assert_close(scores(learner, support, partner), scores(learner, support).gather(1, partner), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["maml", "melu", "set_encoder", "neural_process", "prompt_tuning"])
def test_a_loss_that_is_not_finite_names_the_step_and_the_rate(oracle, name):
    split = oracle("interaction", "rating", name)
    method = build(entry(name, {"learning_rate": 1e30, "steps": 100}))
    with pytest.raises((FloatingPointError, MethodError), match=r"at step \d+ with learning rate 1e\+30|every score must be finite"):
        method.fit(split.world, 0, validator(split))
