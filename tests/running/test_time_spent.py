"""What a method spends and what the harness spends are told apart, and add up to the cell's time."""

from __future__ import annotations

import re
import time

import pytest
import torch

from benchmark.contract import Learner, Support
from benchmark.running.time_spent import TimeSpent
from tests.running.test_run import _methods, _run


class Sleepy(Learner):
    def adapt(self, support):
        time.sleep(0.1)
        return {}

    def score(self, state, partner=None):
        time.sleep(0.2)
        return torch.zeros(1, 1)


def test_validation_is_no_training_and_its_answers_are_the_methods():
    spent, support = TimeSpent(), Support(*(torch.zeros(1, 1) for _ in range(5)))

    def validate(learner: Learner) -> float:
        time.sleep(0.4)  # the harness's own
        learner.score(learner.adapt(support))
        return 1.5

    with spent.fitting():
        time.sleep(0.1)
        assert spent.validating(validate)(Sleepy()) == 1.5
    assert 0.1 <= spent.training < 0.3
    assert 0.3 <= spent.asking < 0.6


def test_a_fit_that_fails_is_counted():
    spent = TimeSpent()

    def fit() -> None:
        with spent.fitting():
            time.sleep(0.1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit()
    assert 0.1 <= spent.training < 0.3


def test_a_run_says_where_its_time_went(cache, tmp_path):
    done = _run(cache, tmp_path, *_methods("maml"), "--set", "maml.steps=40", "--seeds", "1")
    said = re.search(r"^time: training (\d+)%, adapting and scoring (\d+)%, harness (\d+)% of [^,;]+ in cells; ", done.stderr, re.M)
    assert said is not None, done.stderr
    assert sum(map(int, said.groups())) == pytest.approx(100, abs=2)
