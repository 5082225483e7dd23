"""The batched metrics against loops over every order, against ir-measures, and against identities."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from benchmark.evaluation import metrics
from tests.reference import metrics as loops

NAMES = ("ndcg@10", "recall@10", "mrr@10")


def _measure(scores: torch.Tensor, relevant: torch.Tensor) -> dict[str, torch.Tensor]:
    return metrics.ranking(metrics.top_places(scores, relevant), relevant.sum(1))


@st.composite
def tied_rankings(draw: st.DrawFn) -> tuple[list[float], list[bool]]:
    """Up to 13 candidates in small tied groups (so that all orders can be listed), one relevant at least."""
    scores = [float(value) for value, size in enumerate(draw(st.lists(st.integers(1, 3), min_size=4, max_size=6))) for _ in range(size)]
    relevant = draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    relevant[draw(st.integers(0, len(scores) - 1))] = True
    order = draw(st.permutations(range(len(scores))))
    return [scores[i] for i in order], relevant


@settings(max_examples=60, deadline=None)
@given(tied_rankings())
def test_ties_take_their_expectation_over_all_orders(case):
    scores, relevant = case
    got = _measure(torch.tensor([scores]), torch.tensor([relevant]))
    for name, wanted in loops.ranking(scores, relevant).items():
        assert got[name].item() == pytest.approx(wanted, abs=1e-12), name
        assert loops.in_expectation(np.array(scores), np.array(relevant))[name] == pytest.approx(wanted, abs=1e-12), name


@settings(max_examples=30, deadline=None)
@given(tied_rankings())
def test_coverage_and_popularity_are_expectations_too(case):
    scores, relevant = case
    score, label = torch.tensor([scores]), torch.tensor([relevant])
    places = metrics.top_places(score, label)
    coverage = metrics.Coverage(torch.ones(len(scores), dtype=torch.bool))
    coverage.add(places, score)
    chance = loops.in_top(scores)
    assert coverage.share() == pytest.approx(sum(chance) / len(scores), abs=1e-12)
    popularity = torch.arange(len(scores), dtype=torch.float64).square()
    shown = min(10, len(scores))
    wanted = sum(c * p for c, p in zip(chance, popularity.tolist(), strict=True)) / shown
    assert metrics.mean_popularity(places, score, popularity).item() == pytest.approx(wanted, abs=1e-9)


def test_coverage_adds_up_over_tasks():
    scores = torch.stack([torch.arange(30.0), torch.arange(30.0).flip(0), torch.zeros(30)])
    relevant = torch.ones(3, 30, dtype=torch.bool)
    coverage = metrics.Coverage(torch.ones(30, dtype=torch.bool))
    coverage.add(metrics.top_places(scores, relevant), scores)
    assert coverage.share() == pytest.approx((20 + 10 * (1 / 3)) / 30)


def test_a_constant_scorer_equals_chance_exactly():
    luck = torch.Generator().manual_seed(0)
    relevant = torch.rand(50, 300, generator=luck) < 0.05
    relevant[:, 0] = True
    scores = torch.zeros(50, 300)
    scores[:, -20:] = -torch.inf
    relevant[:, -20:] = False
    chance = metrics.ranking(metrics.chance_places(torch.full((50,), 280.0), relevant.sum(1)), relevant.sum(1))
    got = _measure(scores, relevant)
    for name in NAMES:
        torch.testing.assert_close(got[name], chance[name], rtol=0, atol=1e-14)


def test_expected_ndcg_of_chance_is_the_formula_of_the_protocol():
    c, r = torch.tensor([100.0]), torch.tensor([7])
    wanted = 7 / 100 * metrics.discounts(10).sum() / metrics.discounts(7).sum()
    got = metrics.ranking(metrics.chance_places(c, r), r)
    assert got["ndcg@10"].item() == pytest.approx(wanted.item(), abs=1e-15)
    assert got["recall@10"].item() == pytest.approx(7 / 100 * 10 / 7, abs=1e-15)


def test_fewer_candidates_than_places():
    scores = torch.tensor([[1.0, 2.0, -torch.inf, -torch.inf]])
    relevant = torch.tensor([[True, False, False, False]])
    got = _measure(scores, relevant)
    assert got["ndcg@10"].item() == pytest.approx(metrics.discounts(2)[1].item())
    assert got["mrr@10"].item() == 0.5


def test_against_ir_measures_without_ties():
    luck = torch.Generator().manual_seed(1)
    scores = torch.rand(40, 200, generator=luck)
    relevant = torch.rand(40, 200, generator=luck) < 0.1
    relevant[:, 3] = True
    got = _measure(scores, relevant)
    run = {str(t): {str(i): float(s) for i, s in enumerate(row)} for t, row in enumerate(scores.tolist())}
    qrels = {str(t): {str(i): 1 for i in torch.nonzero(row).flatten().tolist()} for t, row in enumerate(relevant)}
    theirs = {}
    for metric in ir_measures.iter_calc([nDCG @ 10, RR @ 10, R @ 10], qrels, run):
        theirs[(str(metric.measure), int(metric.query_id))] = metric.value
    for t in range(40):
        n_relevant = int(relevant[t].sum())
        assert got["ndcg@10"][t].item() == pytest.approx(theirs["nDCG@10", t], abs=1e-9)
        assert got["mrr@10"][t].item() == pytest.approx(theirs["RR@10", t], abs=1e-9)
        ours_over_all = got["recall@10"][t].item() * min(10, n_relevant) / n_relevant
        assert ours_over_all == pytest.approx(theirs["R@10", t], abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_only_the_order_matters(seed, scale, shift):
    luck = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 30, (3, 40), generator=luck).double()
    relevant = torch.rand(3, 40, generator=luck) < 0.2
    relevant[:, 0] = True
    order = torch.randperm(40, generator=luck)
    plain, moved = _measure(scores, relevant), _measure(scores * scale + shift, relevant)
    shuffled = _measure(scores[:, order], relevant[:, order])
    for name in NAMES:
        torch.testing.assert_close(plain[name], moved[name], rtol=0, atol=1e-12)
        torch.testing.assert_close(plain[name], shuffled[name], rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=2, max_size=7),
    st.integers(0, 3),
)
def test_rated_ndcg_against_all_orders(rows, padding):
    predicted, rating = [float(p) for p, _ in rows], [float(r) for _, r in rows]
    mask = torch.tensor([[True] * len(rows) + [False] * padding])
    pad = [9.0] * padding
    got, chance = metrics.rated_ndcg(torch.tensor([predicted + pad]), torch.tensor([rating + pad]), mask)
    assert got.item() == pytest.approx(loops.rated_ndcg(predicted, rating), abs=1e-9)
    assert chance.item() == pytest.approx(loops.rated_ndcg([0.0] * len(rows), rating), abs=1e-9)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 300, 3706])
def test_relevant_partners_are_counted(width):
    mask = torch.rand(7, width, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[0], mask[1] = True, False
    assert metrics.n_relevant(mask).tolist() == mask.sum(1).tolist()
    assert metrics.n_relevant(mask).dtype == torch.int64


def test_errors_are_means_within_a_task():
    predicted = torch.tensor([[3.0, 5.0, 9.0], [1.0, 9.0, 9.0]])
    rating = torch.tensor([[4.0, 3.0, 0.0], [1.5, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    got = metrics.errors(predicted, rating, mask)
    assert got["mae"].tolist() == [1.5, 0.5]
    assert got["rmse"].tolist() == pytest.approx([2.5**0.5, 0.5])


@pytest.mark.parametrize("distinct", [0, 2000, 40, 3])
@pytest.mark.parametrize("columns", [3706, 3705, 5000])
def test_long_rows_are_folded_without_a_difference(monkeypatch, columns, distinct):
    luck = torch.Generator().manual_seed(columns + distinct)
    scores = torch.rand(60, columns, generator=luck)
    scores = (scores * distinct).floor() if distinct else scores
    scores[torch.rand(60, columns, generator=luck) < torch.linspace(0, 0.9995, 60)[:, None]] = -torch.inf  # some have fewer than 10 left
    scores[:, 0] = 0.0
    relevant = torch.rand(60, columns, generator=luck) < 0.05
    popularity = torch.rand(columns, generator=luck, dtype=torch.float64)

    def measured():
        places, coverage = metrics.top_places(scores, relevant), metrics.Coverage(torch.ones(columns, dtype=torch.bool))
        coverage.add(places, scores)
        found = metrics.ranking(places, relevant.sum(1).clamp(min=1))
        return {**found, "popularity": metrics.mean_popularity(places, scores, popularity), "coverage": torch.tensor(coverage.share())}

    folded = measured()
    value, column = metrics.highest(scores, 11)
    assert torch.equal(value, scores.topk(11).values)
    assert torch.equal(scores.gather(1, column), value)
    assert all(len(set(row)) == 11 for row in column.tolist()), "no column stands twice"
    monkeypatch.setattr(metrics, "SHORTEST", 10**9)
    for name, wanted in measured().items():
        torch.testing.assert_close(folded[name], wanted, rtol=1e-12, atol=1e-12)
