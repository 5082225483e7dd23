"""Out of device memory: the batch is halved and it goes on, says so, and gives what the whole batch gives."""

from __future__ import annotations

import os
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from baselines.nn import meta_training, pretrained
from baselines.nn.meta_training import Descent, Schedule, counted, meta_train
from benchmark.contract import Reduced
from benchmark.errors import MethodError
from benchmark.evaluation import metrics
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.protocol.tasks import TaskSampler
from benchmark.running.methods import build, entry
from benchmark.running.run import reset_process
from tests.baselines.test_meta_gradients import _episode, _ready, world  # noqa: F401 (a fixture)
from tests.hostile.methods import SmallMemory
from tests.test_laws import CASES, NOT_APPLICABLE

GOALS = ("ranking", "rating")
pytestmark = pytest.mark.filterwarnings("ignore:a warning of another kind")


def _same(one, other):
    """Up to the last bits of a sum, which differ with the shape of a batch."""
    assert one.columns.keys() == other.columns.keys()
    for name, column in one.columns.items():
        np.testing.assert_allclose(other.columns[name], column, rtol=0, atol=1e-14)
    for name, by_k in one.whole.items():
        assert other.whole[name] == pytest.approx(by_k, abs=1e-14)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("room", [1, 7, 30])
def test_an_evaluation_in_smaller_batches_is_the_same(oracle, goal, room):
    split = oracle("interaction", goal)
    asked = [SmallMemory(fits).fit(split.world, 0, validator(split)) for fits in (10_000, room)]
    whole = evaluate(asked[0], split.board, split.world, split.test)
    with pytest.warns(Reduced) as said:
        _same(whole, evaluate(asked[1], split.board, split.world, split.test))
    n, sizes = len(split.test), []
    while n > room:
        sizes.append(f"out of device memory with {n:,} tasks at once: went on with {n // 2:,}")
        n //= 2
    assert [str(one.message) for one in said] == sizes, "each halving is said once, and lasts"


@pytest.mark.parametrize(("owner", "name"), [(metrics, "mean_popularity"), (metrics.Coverage, "add")])
def test_a_batch_that_fails_while_it_is_measured_counts_once(oracle, monkeypatch, owner, name):
    split = oracle("interaction", "ranking")
    learner = SmallMemory(10_000).fit(split.world, 0, validator(split))
    whole = evaluate(learner, split.board, split.world, split.test)
    real = getattr(owner, name)

    def crowded(*given):
        if any(isinstance(one, torch.Tensor) and one.dim() == 2 and len(one) > 7 for one in given):  # the scores
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*given)

    monkeypatch.setattr(owner, name, crowded)
    with pytest.warns(Reduced):
        _same(whole, evaluate(learner, split.board, split.world, split.test))


def test_a_single_task_that_does_not_fit_fails_in_words(oracle):
    split = oracle("interaction", "ranking")
    with pytest.warns(Reduced), pytest.raises(MethodError, match="out of device memory with a single task at k = 0"):
        evaluate(SmallMemory(0).fit(split.world, 0, validator(split)), split.board, split.world, split.test)


class Crowded:
    """A loss that finds room for `fits` tasks; the memory is gone halfway through the backward pass."""

    def __init__(self, loss, fits):
        self.loss, self.fits, self.asked = loss, fits, []

    def __call__(self, episode):
        self.asked.append(len(episode.support))
        value = self.loss(episode)
        if len(episode.support) > self.fits:
            value.register_hook(self._burst)
        return value

    @staticmethod
    def _burst(_):
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("name", ["maml", "anil", "meta_sgd", "mamo"])
def test_the_gradient_of_the_parts_is_that_of_the_whole(world, name):  # noqa: F811
    method, model, rule = _ready(name, {}, world)
    episode, parameters = _episode(world), list(model.parameters())
    rated = episode.query_rating.clone()
    rated[:3] = world.relevant_from - 1  # so that tasks without a liked row fall into one part
    episode = replace(episode, query_rating=rated * episode.query_mask)
    optimiser = torch.optim.SGD(parameters)

    def loss(some):
        return method.loss(model, rule, some)

    whole = Descent(loss, None).backward(episode, optimiser)
    wanted = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    crowded = Crowded(loss, 3)
    with pytest.warns(Reduced) as said:
        value = Descent(crowded, counted(world)).backward(episode, optimiser)
    assert crowded.asked == [10, 5, 2, 2, 2, 2, 2]
    assert len(said) == 2
    torch.testing.assert_close(value, whole, atol=1e-12, rtol=1e-12)
    for parameter, gradient in zip([p for p in parameters if p.grad is not None], wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(("name", "goal"), [case for case in CASES if case not in NOT_APPLICABLE])
def test_every_method_that_says_its_loss_is_a_mean_is_right(oracle, monkeypatch, name, goal):
    """Each first step of a fit is taken twice: whole, and in parts of 5 tasks."""
    split, checked = oracle("interaction", goal, name), []

    class Both(Descent):
        def backward(self, episode, optimiser):
            value = super().backward(episode, optimiser)
            if self._counted is None:
                return value
            parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None and p.numel()]
            wanted = [p.grad.clone() for p in parameters]
            optimiser.zero_grad()
            torch.testing.assert_close(self._in_parts(episode, 5), value, atol=1e-5, rtol=1e-4)
            for parameter, gradient in zip(parameters, wanted, strict=True):
                torch.testing.assert_close(parameter.grad, gradient, atol=2e-4 * float(gradient.abs().max()) + 1e-7, rtol=1e-3)
            checked.append(len(episode.support))
            return value

    for module in (meta_training, pretrained):
        monkeypatch.setattr(module, "Descent", Both)
    method = build(entry(name))
    own = {field.name for field in fields(method)}
    short = replace(method, **{field: 1 for field in ("steps", "base_steps", "evaluate_every", "epochs", "rounds") if field in own})
    short.fit(split.world, split.seed, lambda _: 0.0)
    if name in ("maml", "fomaml", "anil", "meta_sgd", "fine_tune", "ridge_head", "set_encoder", "prototypical_network", "mwuf", "meta_emb"):
        assert checked


def test_training_goes_on_in_parts_with_the_same_tasks(oracle):
    """Ten steps of MAML where 20 tasks fit are those where all fit, up to rounding."""
    split = oracle("interaction", "rating")
    method = replace(build(entry("maml")), steps=10)
    found = []
    for room in (10_000, 20):
        model = method.model(split.world, 0)
        rule = method.rule(model)
        crowded = Crowded(lambda episode, model=model, rule=rule: method.loss(model, rule, episode), room)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            parameters, sampler = list(model.parameters()), TaskSampler(split.world, 0)
            meta_train(
                parameters, sampler, crowded, lambda: None, lambda _: 0.0, Schedule(10, 64, 0.01, 10, 1), method.counted(split.world)
            )
        found.append((parameters, [str(one.message) for one in said]))
    assert found[0][1] == []
    assert found[1][1] == [f"out of device memory with {n} tasks at once: went on with {n // 2}" for n in (64, 32)]
    for one, other in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("room", "mean", "sentence"), [(20, False, "is not taken in parts"), (0, True, "with 1 training tasks")])
def test_training_that_cannot_go_on_says_why(oracle, room, mean, sentence):
    told = oracle("interaction", "rating").world
    model = build(entry("maml")).model(told, 0)
    loss = Crowded(lambda episode: model.b.sum() * episode.query_rating.mean(), room)
    descent, episode = Descent(loss, counted(told) if mean else None), TaskSampler(told, 0).sample(32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Reduced)
        with pytest.raises(torch.OutOfMemoryError, match=sentence):
            descent.backward(episode, torch.optim.SGD([model.b]))


def test_sums_on_a_gpu_are_asked_to_repeat_before_it_starts(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        reset_process("cuda")
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        reset_process("cpu")
