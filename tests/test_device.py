"""The same code on a GPU: every method runs there, and scores as on the CPU within noise."""

from __future__ import annotations

import pytest
import torch

from baselines import METHODS
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.evaluation.references import reference
from benchmark.running.methods import build, entry

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")]


@pytest.mark.parametrize("goal", ["ranking", "rating"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_on_the_gpu(oracle, name, goal):
    here = oracle("interaction", goal, name)
    there = here.to("cuda")
    method = build(entry(name))
    if method.unsupported(there.world):
        pytest.skip("n/a at this goal")
    areas = []
    for split in (here, there):
        learner = method.fit(split.world, split.seed, validator(split))
        areas.append(evaluate(learner, split.board, split.world, split.test).area(split.board.metric))
    assert areas[1] == pytest.approx(areas[0], abs=0.05)


@pytest.mark.parametrize("goal", ["ranking", "rating"])
def test_meta_batches_of_a_thousand_and_more(many, goal):
    split = many(goal).to("cuda")
    maml, bias = (build(one) for one in (entry("maml", {"tasks_per_step": 1024, "steps": 20}), entry("bias")))
    learners = [method.fit(split.world, split.seed, validator(split)) for method in (maml, bias)]
    areas = [evaluate(learner, split.board, split.world, split.test).area(split.board.metric) for learner in learners]
    assert areas[0] > areas[1] if split.board.higher_is_better else areas[0] < areas[1]


def test_references_on_the_gpu(oracle):
    split = oracle("interaction", "ranking").to("cuda")
    here = oracle("interaction", "ranking")
    for name in ("chance", "oracle"):
        ours = reference(name, split.board, split.world, split.test).area("ndcg@10")
        assert ours == pytest.approx(reference(name, here.board, here.world, here.test).area("ndcg@10"))
