"""What could make a training step of second-order MAML faster, each beside the step as it is: kept only where it pays.

Taken with timing on alone: compiling takes a minute. bfloat16 is tried on the plain vmap: the suite's own form writes its gradient by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

import benchmark as suite
from tests.benchmarks.test_inner_loops import episodes, training
from tests.reference.maml import METHODS, forms

pytestmark = pytest.mark.data
N_TASKS, TURNS = 256, 5


def compiled(loss: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(loss)


def half_precision(loss: Callable[..., Any]) -> Callable[..., Any]:
    def act(episode):
        with torch.autocast("cpu", torch.bfloat16):
            return loss(episode)

    return act


def unchanged(loss: Callable[..., Any]) -> Callable[..., Any]:
    return loss


OPTIONS = {  # name -> the form that it is tried on, the change, threads
    "torch.compile": ("suite", compiled, 1),
    "two threads": ("suite", unchanged, 2),
    "bfloat16 products": ("vmap", half_precision, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", METHODS)
def test_option(beside, timed, real_data, name, option):
    if not timed:
        pytest.skip("an option is tried with timing on alone: pytest tests/benchmarks --benchmark-enable")
    world = suite.load_board("user-rating", "ml-1m", data_dir=real_data).world
    method, (form, change, threads) = METHODS[name], OPTIONS[option]
    model = method.model(world, 0)
    loss, parameters = forms(method, model)[form]
    changed, others = forms(method, model)[form]
    plain, other = training(loss, parameters), training(change(changed), others)
    batches = episodes(world, N_TASKS, TURNS + 1)
    fast, slow = itertools.cycle(batches), itertools.cycle(batches)

    def with_option():
        torch.set_num_threads(threads)
        try:
            return other(next(slow))
        finally:
            torch.set_num_threads(1)

    with_option()  # compiles
    title = f"second-order {name}, a step of {N_TASKS} tasks, {form}"
    beside(title, lambda: plain(next(fast)), with_option, reference=option, rounds=TURNS, repeats=2)
    assert other(batches[0])[0] == pytest.approx(plain(batches[0])[0], rel=0.05 if form == "vmap" else 1e-4)
