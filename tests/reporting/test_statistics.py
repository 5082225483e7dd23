"""Intervals that cover, differences that are paired, corrections solved by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.reporting.statistics import Bootstrap, compare, holm, p_values


def test_holm_by_hand():
    p = np.ones((3, 3))
    for (i, j), value in {(0, 1): 0.01, (0, 2): 0.04, (1, 2): 0.03}.items():
        p[i, j] = p[j, i] = value
    got = holm(p)
    assert got[0, 1] == pytest.approx(0.03)
    assert got[1, 2] == pytest.approx(0.06)
    assert got[0, 2] == pytest.approx(0.06)  # 0.04 alone, but never below the one before it
    assert (got == got.T).all()


def test_intervals_cover_the_truth():
    luck = np.random.default_rng(0)
    hits = 0
    trials = 300
    seeds = [0] * 60 + [1] * 60
    bootstrap = Bootstrap(seeds)
    for _ in range(trials):
        values = luck.exponential(1.0, (120, 1))
        one = bootstrap.intervals(values)[0]
        hits += one.low <= 1.0 <= one.high
    assert 0.91 <= hits / trials <= 0.98


def test_seeds_are_resampled_apart():
    values = np.array([[0.0]] * 10 + [[1.0]] * 10)
    one = Bootstrap([0] * 10 + [1] * 10).intervals(values)[0]
    assert (one.low, one.mean, one.high) == (0.5, 0.5, 0.5)


def test_differences_are_paired_by_task():
    luck = np.random.default_rng(1)
    hard = luck.normal(0, 10, 200)
    values = np.stack([hard, hard + 0.1 + luck.normal(0, 0.1, 200)], 1)
    order = compare(Bootstrap([0] * 200), values, higher_is_better=True)
    assert order.better[1, 0]
    assert order.rank(1) == (1, 1)
    assert order.rank(0) == (2, 2)
    unpaired = np.stack([hard, luck.permutation(hard) + 0.1], 1)
    assert not compare(Bootstrap([0] * 200), unpaired, higher_is_better=True).better.any()


def test_equal_methods_share_their_places():
    luck = np.random.default_rng(2)
    false = 0
    bootstrap = Bootstrap([0] * 150)
    for _ in range(100):
        order = compare(bootstrap, luck.normal(0, 1, (150, 3)), higher_is_better=False)
        false += order.better.any()
    assert false <= 10
    assert compare(bootstrap, np.ones((150, 4)), True).rank(2) == (1, 4)


def test_lower_is_better_turns_the_order():
    values = np.stack([np.linspace(0, 1, 50), np.linspace(0, 1, 50) + 1], 1)
    assert compare(Bootstrap([0] * 50), values, higher_is_better=False).better[0, 1]
    assert p_values(Bootstrap([0] * 50), values)[0, 1] == 0.0


def test_draws_repeat():
    values = np.random.default_rng(3).normal(0, 1, (40, 2))
    assert Bootstrap([0] * 40).intervals(values) == Bootstrap([0] * 40).intervals(values)


def test_an_interval_does_not_depend_on_who_adds_or_in_which_order():
    """Sums of floats depend on a library's threads; these are sums of integers, exact in any order."""
    values = np.random.default_rng(4).normal(0, 1, (1_000, 3))
    bootstrap = Bootstrap([0] * 1_000)
    means = bootstrap.means(values)
    turned = Bootstrap([0] * 1_000)
    luck = np.random.default_rng(5).permutation(1_000)
    turned._counts = turned._counts[:, luck]
    assert (turned.means(values[luck]) == means).all()
    counted = np.array([[math.fsum(row * column) for column in values.T] for row in bootstrap._counts[:50]]) / 1_000
    np.testing.assert_allclose(means[:50], counted, rtol=0, atol=1e-11)
    assert (bootstrap.means(values[:, :1]) == means[:, :1]).all(), "a column does not depend on its neighbours"
