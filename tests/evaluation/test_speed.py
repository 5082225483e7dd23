"""Speed: figures that add up, and methods that look faster than they are."""

from __future__ import annotations

import gc
import threading
import time

import pytest
import torch

from benchmark.errors import MethodError
from benchmark.evaluation import speed
from benchmark.evaluation.agreement import agreement
from benchmark.evaluation.clock import Clock, CudaClock, Memory
from benchmark.evaluation.honesty import check_repeats, held_bytes
from benchmark.evaluation.speed import measure, shots_served
from benchmark.evaluation.visitors import Visitors
from tests.hostile import timings

REPEATS = 20


@pytest.fixture
def split(oracle):
    return oracle("interaction", "ranking")


@pytest.fixture
def quick(monkeypatch):
    """Small batches and few repeats: what is tested does not depend on them."""
    monkeypatch.setattr(speed, "BATCHES", (1, 8))
    monkeypatch.setattr(speed, "AGAIN", 20)


def _measure(split, learner, clock=None, repeats=REPEATS):
    return measure(learner, timings.Honest(split.world), split.world, split.test, 5, clock or Clock(), repeats)


def test_every_call_is_timed_whole(split, quick):
    found = _measure(split, timings.Honest(split.world))
    assert set(found.adapt) == {1, 8}
    for figure in (*found.adapt.values(), found.rank):
        assert len(figure.took) == len(figure.reference) == REPEATS
        assert figure.seconds() >= timings.BUSY_SECONDS
        assert figure.seconds(0.5) <= figure.seconds(0.95) <= figure.seconds(0.99)
        assert figure.seconds(0.1) / figure.reference_seconds(0.1) == pytest.approx(1, abs=0.3)
        assert figure.device_seconds() is None
    assert found.state_bytes == 4
    assert found.joules is None
    assert gc.isenabled()


def test_training_in_the_warm_up_is_charged_to_the_fit(split, quick):
    honest, found = (_measure(split, kind(split.world)) for kind in (timings.Honest, timings.TrainsWhenFirstAsked))
    assert found.extra_seconds > 0.7 > honest.extra_seconds
    assert found.adapt[1].seconds(0.1) < 2 * timings.BUSY_SECONDS


def test_a_learner_that_remembers_is_caught(split, quick):
    with pytest.raises(MethodError, match=r"held [\d,]+ bytes before it served and [\d,]+ after; a learner is immutable"):
        _measure(split, timings.Remembers(split.world))


def test_answers_kept_elsewhere_are_caught(split, quick):
    with pytest.raises(MethodError, match="one that was asked before .* answers are kept"):
        _measure(split, timings.RemembersElsewhere(split.world))


def test_a_state_that_is_filled_later_is_caught(split, quick):
    with pytest.raises(MethodError, match="adapt\\(\\) returned before its work was done: state 'mean' has changed since"):
        _measure(split, timings.FillsLater(split.world), repeats=3)


def test_work_left_behind_is_caught(split, quick):
    with pytest.raises(MethodError, match=r"the method left .* running; all work ends before|cores were busy"):
        _measure(split, timings.LeavesWork(split.world), repeats=3)


class Pretend(Clock):
    """A device that works only while the host waits for it, as a GPU's queue does in the worst case."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[float] = []

    def wait(self) -> None:
        while self.queue:
            timings.work(self.queue.pop())


def test_the_clock_waits_for_the_device_before_and_after(split, quick):
    clock = Pretend()
    found = _measure(split, timings.Runs(split.world, clock.queue), clock)
    assert timings.BUSY_SECONDS <= found.adapt[1].seconds(0.1) < 2 * timings.BUSY_SECONDS
    clock.queue.append(0.05)  # left by someone else: not ours
    assert clock.time(lambda: None).seconds < 0.01


def test_no_support_is_asked_twice(split):
    visitors = Visitors(split.test, split.world, 5)
    asked = [visitors.draw(1) for _ in range(300)]
    assert len({(one.partner.numpy().tobytes(), one.rating.numpy().tobytes(), int(one.entity)) for one in asked}) == 300
    for one in asked[:20]:
        one.checked(split.world)
        assert int(one.mask.sum()) == 5
        row = int(torch.nonzero(split.test.entity == one.entity).flatten()[0])
        pool = dict(zip(split.test.pool_partner[row].tolist(), split.test.pool_rating[row].tolist(), strict=True))
        assert all(pool[p] == r for p, r in zip(one.partner[0].tolist(), one.rating[0].tolist(), strict=True))
    made_up = visitors.made_up(16).checked(split.world)
    assert all(len(set(row)) == 5 for row in made_up.partner[:, :5].tolist())
    real = split.test.support(5)
    assert not any(torch.equal(made_up.partner[i, :5], real.partner[j, :5]) for i in range(16) for j in range(len(real)))


def test_more_threads_than_a_cell_has_are_refused(split, quick):
    try:
        with pytest.raises(MethodError, match="cores were busy, with torch at 2 threads; a cell has 1"):
            _measure(split, timings.Spreads(split.world))
    finally:
        torch.set_num_threads(1)
    assert _measure(split, timings.Honest(split.world)).cores < 1.2


@pytest.mark.parametrize("kind", [timings.RemembersEntities, timings.KnowsTheBatches])
def test_answers_that_are_not_those_of_the_support_are_caught(split, quick, kind):
    with pytest.raises(MethodError, match="an answer that was timed differs by .* from that of a copy that had served nobody"):
        _measure(split, kind(split.world))


def test_a_process_that_works_for_it_is_caught(split, quick):
    with pytest.raises(MethodError, match=r"left process \d+ running"):
        _measure(split, timings.Forks(split.world))


def test_a_buffer_for_each_size_of_batch_is_no_memory(split, quick):
    learner = timings.Honest(split.world)
    learner.buffers, adapt = {}, learner.adapt

    def with_buffer(support):
        learner.buffers.setdefault(len(support), torch.zeros(len(support), 100))
        return adapt(support)

    learner.adapt = with_buffer
    assert _measure(split, learner).shots == 5


def test_load_that_comes_and_goes_accuses_nobody():
    """Ten calls beside other work take three times as long; new and repeated ones alike."""
    slow = [(0.03, 0.03)] * 30 + [(0.01, 0.01)] * 20
    check_repeats(lambda: slow)
    with pytest.raises(MethodError, match="answers are kept"):
        check_repeats(lambda: [(0.03, 0.001)] * 50)
    first = iter([[(0.03, 0.001)] * 50, slow])
    check_repeats(lambda: next(first))


def test_a_learner_that_cannot_be_copied_is_one_sentence(split, quick):
    learner = timings.Honest(split.world)
    learner.lock = threading.Lock()
    with pytest.raises(MethodError, match="the learner cannot be copied .*, so its answers go unchecked"):
        _measure(split, learner)


def test_a_batch_that_does_not_fit_is_halved(split, monkeypatch):
    monkeypatch.setattr(speed, "BATCHES", (1, 32, 1024))
    found = _measure(split, timings.TooLarge(split.world), repeats=3)
    assert [figure.at_once for figure in found.adapt.values()] == [1, 32, 64]


def test_training_in_the_very_first_answer_is_charged_too(split, quick):
    learner = timings.TrainsWhenFirstAsked(split.world)
    learner.left, learner.seconds = 1, 1.0
    assert _measure(split, learner).extra_seconds > 0.7


@pytest.mark.parametrize(("shots", "wanted"), [((0, 1, 2, 5, 10, 20), 5), ((0, 1, 2, 3), 3), ((0, 10, 20), 10), ((1_000_000,), 5)])
def test_shots_served(shots, wanted):
    assert shots_served(shots) == wanted


def test_held_bytes_sees_through_containers_and_functions(split):
    learner = timings.Honest(split.world)
    before = held_bytes(learner)
    hidden = torch.zeros(1000)
    learner.act = lambda: hidden
    assert held_bytes(learner) - before >= 4000
    learner.itself = learner
    assert held_bytes(learner) < before + 5000


def test_memory_above_what_was_held():
    kept = torch.ones(10_000_000)
    memory = Memory("cpu")
    passing = torch.ones(25_000_000) + 1
    del passing
    found = memory.host_bytes()
    assert found is None or 100_000_000 <= found < 260_000_000
    assert memory.device_bytes() is None
    assert len(kept) == 10_000_000


def test_agreement():
    luck = torch.Generator().manual_seed(0)
    one = torch.rand(200, generator=luck).double().numpy()
    noise = torch.randn(200, generator=luck).double().numpy()
    assert agreement({"m": one}, {"m": one.copy()}) == "bit-exact"
    assert agreement({"m": one}, {"m": one + 1e-9}) == "close"
    assert agreement({"m": one}, {"m": one + 0.1 * (noise - noise.mean())}) == "statistical"
    assert agreement({"m": one}, {"m": one + 0.1}) == "different"
    assert agreement({"m": one, "n": one}, {"m": one, "n": one + 0.1}) == "different"
    assert agreement({"m": one}, {"m": one[:-1]}) == "different"
    assert agreement({}, {}) == "different"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
def test_the_gpu_clock_sees_work_on_another_stream():
    clock, other = CudaClock(), torch.cuda.Stream()

    def act() -> None:
        with torch.cuda.stream(other):
            torch.cuda._sleep(50_000_000)

    assert clock.time(act).seconds > 0.01
    started = time.perf_counter()
    clock.wait()
    assert time.perf_counter() - started < 0.005
