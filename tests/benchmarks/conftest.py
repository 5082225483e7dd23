"""Timings beside their slow references: measured in turns, saved with the ratio, compared with the last saved run.

Where timing is off, as in an ordinary run of the tests, each form runs once on small inputs, and their answers must agree.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from threadpoolctl import threadpool_limits

from tests.benchmarks import comparison
from tests.benchmarks.comparison import Timing

Found, Wanted = TypeVar("Found"), TypeVar("Wanted")
SAVED = pytest.StashKey[dict[str, float]]()


@pytest.fixture(scope="session")
def timed(request: pytest.FixtureRequest) -> bool:
    """Whether times are taken: then inputs have their real size."""
    return not request.config._benchmarksession.disabled


@pytest.fixture
def beside(benchmark: Any) -> Callable[..., tuple[Any, Any]]:
    """beside("EASE, fit", fast, slow, reference="NumPy's inverse", rounds=5) -> what both answered in the last round.

    Fast and slow take turns in one loop, so that whatever else the machine does hits both; the first turn warms up. A fast
    form that is much the shorter runs `repeats` times a turn, so that its median rests on as many moments as the other's.
    """

    def measure(
        title: str, fast: Callable[[], Found], slow: Callable[[], Wanted], *, reference: str, rounds: int, repeats: int = 1
    ) -> tuple[Found, Wanted]:
        seconds: list[float] = []
        wanted: list[Wanted] = []
        rest = itertools.cycle([True, *[False] * (repeats - 1)])  # whose turn it is after the warm-up

        def turn_of_the_slow() -> None:
            if seconds and not next(rest):
                return
            started = time.perf_counter()
            answer = slow()
            seconds.append(time.perf_counter() - started)
            wanted[:] = [answer]

        with threadpool_limits(1):  # here, where all libraries are loaded; `tests/conftest.py` sees to torch
            found = benchmark.pedantic(fast, setup=turn_of_the_slow, rounds=rounds * repeats, warmup_rounds=1)
        if benchmark.enabled:
            timing = Timing(title, benchmark.stats.stats.median, reference, statistics.median(seconds[1:]))
            benchmark.extra_info.update(
                title=title, reference=reference, reference_seconds=timing.reference_seconds, ratio=timing.ratio, threads=1
            )
        return found, wanted[0]

    return measure


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Reads what was saved before pytest-benchmark saves this run, and leaves the printing to the table below."""
    bench = session.config._benchmarksession
    if _timings(bench):
        bench.quiet = True
        session.config.stash[SAVED] = comparison.last_saved((run for _, run in bench.storage.load()), bench.get_machine_info())
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, and a line for each regression; the exit code knows nothing of it."""
    saved = config.stash.get(SAVED, None)
    if saved is None:
        return
    now = _timings(config._benchmarksession)
    terminalreporter.section("timings beside their references")
    terminalreporter.write_line(comparison.table(now, saved))
    terminalreporter.write_line("")
    terminalreporter.write_line("Medians of runs in turns, one thread. Compared is the ratio: times move with the machine's load.")
    for line in comparison.verdict(now, saved):
        terminalreporter.write_line(line)


def _timings(bench: Any) -> dict[str, Timing]:
    """What this run measured beside a reference."""
    return {
        one.fullname: Timing(one.extra_info["title"], one.stats.median, one.extra_info["reference"], one.extra_info["reference_seconds"])
        for one in bench.benchmarks
        if "ratio" in one.extra_info and not one.has_error
    }
