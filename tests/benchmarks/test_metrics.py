"""nDCG@10, Recall@10 and MRR@10 of 6,040 x 3,706 scores in memory, end to end, beside what others use.

Each side has the relevance in its own form before the clock starts: a mask for ours, qrels for theirs. Theirs get no full
rankings, which would cost them far more, but the ten best of each user, found by torch and written as the run that they read.
"""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
import torch
from ir_measures import RR, R, nDCG

from benchmark.evaluation import metrics
from tests.reference import metrics as loops

TIES = {"none": "no ties", "coarse": "50 distinct scores", "constant": "all scores equal"}
MEASURES = [nDCG @ 10, R @ 10, RR @ 10]


@pytest.fixture(scope="module")
def scores(timed):
    """Scores without ties, and 2% relevant."""
    luck = torch.Generator().manual_seed(0)
    users, items = (6_040, 3_706) if timed else (50, 400)
    values = torch.stack([torch.randperm(items, generator=luck) for _ in range(users)]).float()
    relevant = torch.rand(users, items, generator=luck) < 0.02
    relevant[:, 0] = True
    return values, relevant


def ours(values, relevant):
    return metrics.ranking(metrics.top_places(values, relevant), metrics.n_relevant(relevant))


def qrels(relevant):
    found = {str(user): {} for user in range(len(relevant))}
    for user, item in torch.nonzero(relevant).tolist():
        found[str(user)][str(item)] = 1
    return found


def top_run(values, users, items):
    """user -> item -> score, of the ten best."""
    value, index = values.topk(10)
    return {
        user: {items[i]: s for i, s in zip(*row, strict=True)} for user, *row in zip(users, index.tolist(), value.tolist(), strict=True)
    }


def by_ranx(relevant, timed):
    numba = pytest.importorskip("numba")
    if not timed:
        numba.config.DISABLE_JIT = True  # to compile takes longer than all else that is tested here
    ranx = pytest.importorskip("ranx")
    if timed:
        numba.set_num_threads(1)
    prepared = ranx.Qrels(qrels(relevant))

    def measure(run):
        found = ranx.evaluate(prepared, ranx.Run(run), ["ndcg@10", "recall@10", "mrr@10"])
        return [found[name] for name in ("ndcg@10", "recall@10", "mrr@10")]

    return measure


def by_ir_measures(relevant, timed):
    prepared = ir_measures.evaluator(MEASURES, qrels(relevant))

    def measure(run):
        found = prepared.calc_aggregate(run)
        return [found[one] for one in MEASURES]

    return measure


@pytest.mark.filterwarnings("ignore:.*unsafe cast")
@pytest.mark.parametrize("other", [by_ranx, by_ir_measures], ids=["ranx", "ir-measures"])
def test_full_catalogue(beside, timed, scores, other):
    values, relevant = scores
    users, items = ([str(i) for i in range(n)] for n in values.shape)
    measure = other(relevant, timed)
    found, wanted = beside(
        "3 metrics @10, 6,040 users x 3,706 items",
        lambda: ours(values, relevant),
        lambda: measure(top_run(values, users, items)),
        reference="ranx" if other is by_ranx else "ir-measures",
        rounds=7,
    )
    n = relevant.sum(1)
    over_all = found["recall@10"] * n.clamp(max=10) / n  # theirs is over all that is relevant, ours over what fits
    means = [float(column.mean()) for column in (found["ndcg@10"], over_all, found["mrr@10"])]
    np.testing.assert_allclose(means, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ties", TIES)
def test_ties(beside, scores, ties):
    """Ties take their expectation; so do they in the loop."""
    values, relevant = scores
    tied = {"none": values, "coarse": (values / values.shape[1] * 50).floor(), "constant": torch.zeros_like(values)}[ties]
    rows = list(zip(tied.numpy(), relevant.numpy(), strict=True))
    found, wanted = beside(
        f"the same, {TIES[ties]}",
        lambda: ours(tied, relevant),
        lambda: [loops.in_expectation(*row) for row in rows],
        reference="loop over users",
        rounds=3,
    )
    for name, column in found.items():
        np.testing.assert_allclose(column, [one[name] for one in wanted], rtol=0, atol=1e-12)
