"""Nothing makes a GPU wait for the host inside a loop: adapting, scoring, training and evaluating, walked a GPU's way on a CPU."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest
import torch

from baselines import METHODS
from baselines.nn.thinned_histories import ThinnedHistories
from benchmark import contract
from benchmark.evaluation import evaluate as evaluation
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.evaluation.references import reference
from benchmark.running.methods import build, entry
from tests.host_copies import HostCopies
from tests.test_laws import NOT_APPLICABLE

CASES = [case for case in product(METHODS, ("ranking", "rating")) if case not in NOT_APPLICABLE]
# What makes a fit short; a method has one or two of them.
SHORT = {"steps": 4, "evaluate_every": 4, "base_steps": 4, "rounds": 2, "epochs": 2, "sweeps": 2}


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Every read of a tensor's value is taken for a wait."""
    monkeypatch.setattr(contract, "READ_AT_ONCE", set())


def short(name: str, times: int = 1):
    """The method with a fit of a few steps, `times` as many, and as many validations."""
    method = build(entry(name))
    own = {field.name for field in fields(method)}
    return replace(method, **{field: value * times for field, value in SHORT.items() if field in own})


@pytest.fixture(scope="module")
def learned(oracle):
    """learned("maml", "rating") -> its learner after a short fit, made once."""
    made = {}

    def make(name, goal):
        if (name, goal) not in made:
            split = oracle("interaction", goal, name)
            made[name, goal] = short(name).fit(split.world, split.seed, validator(split))
        return made[name, goal]

    return make


X = torch.arange(6.0).view(2, 3)
LONG = torch.tensor([0, 1])
WAITING = {
    "item": lambda: X.sum().item(),
    "bool": lambda: bool(X.any()),
    "int": lambda: int(X[0, 1]),
    "index": lambda: X[LONG[0]],
    "nonzero": lambda: X.nonzero(),
    "where": lambda: torch.where(X > 1),
    "mask": lambda: X[X > 1],
    "row mask": lambda: X[X[:, 0] > 1],
    "mask written to": lambda: X.clone().index_put_((X > 1,), X[:, :2].flatten()),
    "masked_select": lambda: X.masked_select(X > 1),
    "unique": lambda: X.unique(),
    "unique rows": lambda: X.unique(dim=0),
    "unique run": lambda: X.flatten().unique_consecutive(),
    "repeats": lambda: X.repeat_interleave(LONG, 0),
    "bincount": lambda: LONG.bincount(minlength=9),
    "equal": lambda: torch.equal(X, X),
    "allclose": lambda: torch.allclose(X, X),
    "cholesky": lambda: torch.linalg.cholesky(torch.eye(2)),
    "solve": lambda: torch.linalg.solve(torch.eye(2), X),
    "draw": lambda: torch.multinomial(X + 1, 2),
    "tolist": lambda: X.tolist(),
    "numpy": lambda: X.numpy(),
    "cpu": lambda: X.cpu(),
    "to": lambda: X.to("cpu"),
    "tensor": lambda: torch.tensor([1.0, 2.0]),
    "list": lambda: X[[0, 1]],
    "another device": lambda: X.to("meta"),
}
FREE = {
    "fill": lambda: X.clone().masked_fill_(X > 1, 0.0),
    "mask filled": lambda: X.clone().__setitem__(X > 1, 0.0),
    "where": lambda: torch.where(X > 1, X, 0.0),
    "index": lambda: X[LONG, LONG],
    "repeats": lambda: X.repeat_interleave(LONG, 0, output_size=1),
    "times": lambda: X.repeat_interleave(2, 0),
    "dtype": lambda: X.to(torch.float64),
    "cholesky_ex": lambda: torch.linalg.cholesky_ex(torch.eye(2)),
    "draw": lambda: torch.multinomial(X + 1, 2, replacement=True),
    "unbind": lambda: tuple(X),
}


@pytest.mark.parametrize("what", WAITING)
def test_the_watch_sees_a_wait(what):
    with HostCopies() as watch:
        WAITING[what]()
    assert watch.seen


@pytest.mark.parametrize("what", FREE)
def test_the_watch_lets_pass_what_waits_for_nothing(what):
    with HostCopies() as watch:
        FREE[what]()
    assert not watch.seen


def test_the_watch_sees_into_a_backward_pass():
    class Peeks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * (1.0 if bool(grad.sum() > 0) else 2.0)

    value = Peeks.apply(X.clone().requires_grad_()).sum()
    with HostCopies() as watch:
        value.backward()
    assert sum(watch.seen.values()) == 1


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_adapting_and_scoring_wait_for_nothing(oracle, learned, as_on_a_gpu, name, goal):
    split, learner = oracle("interaction", goal, name), learned(name, goal)
    support = split.test.support(5)
    with HostCopies() as watch:
        state = learner.adapt(support)
        learner.score(state, support.partner)
        learner.score(state)
    assert not watch.seen


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_training_steps_wait_for_nothing(oracle, as_on_a_gpu, name, goal):
    """Twice as many steps, epochs or rounds with as many validations: what is read at the start and the end, no more."""
    split, waits = oracle("interaction", goal, name), []
    for times in (1, 2):
        with HostCopies() as watch:
            short(name, times).fit(split.world, split.seed, lambda _: 0.0)
        waits.append(watch.seen)
    assert waits[1] - waits[0] == Counter()


@pytest.mark.parametrize(("name", "goal"), [("bias", "ranking"), ("item_knn", "ranking"), ("constant", "ranking"), ("bias", "rating")])
def test_evaluating_waits_for_nothing_between_batches(oracle, learned, as_on_a_gpu, monkeypatch, name, goal):
    split, learner, waits = oracle("interaction", goal), learned(name, goal), []
    for size in (1024, 16):
        monkeypatch.setattr(evaluation, "batch_size", lambda *_, size=size: size)
        with HostCopies() as watch:
            evaluate(learner, split.board, split.world, split.test)
        waits.append(watch.seen)
    assert len(split.test) > 2 * 16
    assert waits[1] - waits[0] == Counter()


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_a_gpus_way_gives_the_same(oracle, learned, monkeypatch, name, goal):
    split, learner = oracle("interaction", goal, name), learned(name, goal)
    here = evaluate(learner, split.board, split.world, split.test)
    monkeypatch.setattr(contract, "READ_AT_ONCE", set())
    there = evaluate(learner, split.board, split.world, split.test)
    for metric, column in here.columns.items():
        np.testing.assert_allclose(there.columns[metric], column, atol=1e-6)
    for metric, by_k in here.whole.items():
        assert there.whole[metric] == pytest.approx(by_k)


@pytest.mark.parametrize("name", ["chance", "oracle"])
def test_references_a_gpus_way(oracle, monkeypatch, name):
    """A constant scorer ties everybody, beyond the last place that is looked at."""
    split = oracle("interaction", "rating")
    here = reference(name, split.board, split.world, split.test)
    monkeypatch.setattr(contract, "READ_AT_ONCE", set())
    there = reference(name, split.board, split.world, split.test)
    for metric, column in here.columns.items():
        np.testing.assert_array_equal(there.columns[metric], column)


def test_padded_histories_are_the_ragged_ones(oracle, monkeypatch):
    world = replace(oracle("interaction", "ranking").world, shots=(10**6,))  # every row stays
    value, table = torch.rand(len(world.ratings)), torch.rand(world.n_partners, 3)
    found = []
    for _ in range(2):
        histories = ThinnedHistories(world, value, 1.0, torch.Generator().manual_seed(0))
        rows, x, y = histories.draw(histories.shuffled()[:16])
        found.append((rows.times(table, x), y))
        monkeypatch.setattr(contract, "READ_AT_ONCE", set())
    torch.testing.assert_close(found[1], found[0])
