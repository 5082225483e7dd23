"""The laws of the contract, over every method, both goals; counted."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from baselines import METHODS
from benchmark.contract import Learner, Support
from benchmark.evaluation.evaluate import validator
from benchmark.running.methods import build, entry
from benchmark.trust import laws
from tests.conftest import TWO_DOMAINS

CASES = list(itertools.product(METHODS, ("ranking", "rating")))
# The same whatever the seed.
NO_LUCK = (
    "popularity",
    "item_mean",
    "bias",
    "item_knn",
    "constant",
    "user_mean",
    "user_knn",
    "ease",
    "slim",
    "content_ridge",
    "content_knn",
)
NOT_APPLICABLE = {
    *((name, "rating") for name in ("popularity", "ials", "ease", "slim", "bpr", "lightgcn", "mult_vae")),
    *((name, "ranking") for name in ("user_mean", "svd", "svdpp")),
    *((name, "rating") for name in TWO_DOMAINS),  # no world of two domains has ratings: tests/baselines/test_cross_domain.py
}
RAN: set[tuple[str, str, str]] = set()


def _fitted(oracle, fitted, name: str, goal: str):
    split = oracle("interaction", goal, name)
    method = build(entry(name))
    reason = method.unsupported(split.world)
    if reason:
        assert (name, goal) in NOT_APPLICABLE, reason
        return split, None
    return split, fitted(name, "interaction", goal)


def _mixed(split):
    """A batch of tasks of which some show nothing, some a few rows with gaps between, some all."""
    support = split.test.support(10)
    luck = torch.Generator().manual_seed(0)
    shown = torch.rand(support.mask.shape, generator=luck) < torch.tensor([0.0, 0.1, 0.4, 1.0]).repeat(len(support))[: len(support), None]
    mask = support.mask & shown
    return replace(support, partner=support.partner * mask, rating=support.rating * mask, mask=mask)


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(("name", "goal"), CASES)
def test_law(oracle, fitted, name, goal, law):
    split, learner = _fitted(oracle, fitted, name, goal)
    if name == "random" and law is laws.cold_ids_carry_no_signal:
        with pytest.raises(laws.LawBroken):  # its luck is keyed by the id, and it alone may do so
            law(learner, split.world, split.test.support(5))
    elif learner is not None:
        law(learner, split.world, _mixed(split))
    else:
        return
    RAN.add((name, goal, law.__name__))


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_fit_is_deterministic_and_leaves_the_world_untouched(oracle, fitted, name, goal):
    split, learner = _fitted(oracle, fitted, name, goal)
    if learner is not None:
        laws.fit_is_deterministic(build(entry(name)), split.world, split.seed, validator(split), learner, split.test.support(5))
        RAN.add((name, goal, "deterministic"))


@pytest.mark.parametrize(("name", "goal"), [c for c in CASES if c[0] not in NO_LUCK])
def test_another_seed_gives_another_model(oracle, fitted, name, goal):
    split, learner = _fitted(oracle, fitted, name, goal)
    if learner is None:
        return
    other = build(entry(name)).fit(split.world, split.seed + 1, validator(split))
    support = split.test.support(5)
    assert not torch.equal(laws.scores(learner, support), laws.scores(other, support))


def test_every_law_met_every_method(request):
    if len(request.session.items) < len(CASES) * (len(laws.LAWS) + 1):
        pytest.skip("only a part of the laws was asked for")
    assert len(RAN) == (len(CASES) - len(NOT_APPLICABLE)) * (len(laws.LAWS) + 1)


class _Bleeder(Learner):
    """Adapts each entity from where the last one ended: the fault of much public code."""

    def __init__(self) -> None:
        self.memory = torch.zeros(1)

    def adapt(self, support: Support):
        self.memory = self.memory + support.rating.sum()
        return {"mean": (support.rating.sum(1, keepdim=True) + self.memory)}

    def score(self, state, partner=None):
        columns = 80 if partner is None else partner.shape[1]
        return state["mean"].expand(-1, columns).clone()


class _Neighbourly(_Bleeder):
    """Reads the rest of its batch."""

    def adapt(self, support: Support):
        return {"mean": support.rating - support.rating.mean()}

    def score(self, state, partner=None):
        return state["mean"].sum(1, keepdim=True).expand(-1, 80).clone()


class _Positional(_Neighbourly):
    """Knows its place in the batch."""

    def adapt(self, support: Support):
        return {"mean": torch.arange(len(support)).float()[:, None]}


class _PaddingReader(_Neighbourly):
    """Divides by the padded width."""

    def adapt(self, support: Support):
        return {"mean": support.rating.mean(1, keepdim=True)}


class _Scribbler(_Neighbourly):
    """Writes into its input."""

    def adapt(self, support: Support):
        support.rating.mul_(2.0)
        return {"mean": support.rating}


class _Forgetful(_Neighbourly):
    """Counts its calls, and adds a little for each: a bleed far below any tolerance."""

    calls = 0

    def adapt(self, support: Support):
        self.calls += 1
        return {"mean": support.rating + 1e-6 * self.calls}


class _Familiar(_Neighbourly):
    """Reads signal from a cold id."""

    def adapt(self, support: Support):
        return {"mean": support.entity.float()[:, None]}


class _Endless(_Neighbourly):
    """Divides by the number of shots, also when there are none."""

    def adapt(self, support: Support):
        return {"mean": support.rating.sum(1, keepdim=True) / support.count()[:, None]}


class _Ordered(_Neighbourly):
    """Trusts the first row more, where order means nothing."""

    def adapt(self, support: Support):
        return {"mean": support.rating[:, :1]}


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (_Bleeder, "state_does_not_bleed"),
        (_Forgetful, "state_does_not_bleed"),
        (_Familiar, "cold_ids_carry_no_signal"),
        (_Neighbourly, "a_batch_equals_its_tasks"),
        (_Positional, "task_order_does_not_matter"),
        (_PaddingReader, "padding_changes_nothing"),
        (_Scribbler, "inputs_are_untouched"),
        (_Endless, "zero_shots_are_finite"),
        (_Ordered, "support_order_does_not_matter"),
    ],
)
def test_each_law_catches_its_breaker(oracle, kind, law):
    split = oracle("interaction", "rating")
    with pytest.raises(laws.LawBroken):
        getattr(laws, law)(kind(), split.world, split.test.support(5))
