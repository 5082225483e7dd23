"""Adaptation: how fast a new user is served, method by method.

    python -m tests.benchmarks.adaptation [folder with ml-1m.zip]

One thread, ML-1M, 5 ratings a user. Median milliseconds to adapt one user and rank every partner;
users a second to adapt 512 at once, without scoring; bytes kept of a user. Methods are trained for a
few steps only: speed does not depend on how well they were.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate

import benchmark
from baselines import METHODS
from benchmark.contract import Learner, Support
from benchmark.running.methods import build, entry

K, BATCH, REPEATS, TOP = 5, 512, 200, 10


def median_seconds(act: Callable[[], object], repeats: int) -> float:
    """After a tenth as many runs to warm up."""
    spent = []
    for number in range(repeats + repeats // 10):
        started = time.perf_counter()
        act()
        if number >= repeats // 10:
            spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def line(name: str, learner: Learner, many: Support) -> list[str]:
    """One row of the table."""
    one = iter(range(10**9))

    def serve() -> object:
        t = next(one) % len(many)
        return learner.score(learner.adapt(many[t : t + 1])).topk(TOP)

    state = learner.adapt(many)
    kept = sum(value.numel() * value.element_size() for value in state.values()) // len(many)
    milliseconds = 1e3 * median_seconds(serve, REPEATS)
    speed = len(many) / median_seconds(lambda: learner.adapt(many), 20)
    return [name, f"{milliseconds:.2f}", f"{speed:,.0f}", f"{kept:,}"]


def measure(data_dir: Path) -> list[list[str]]:
    """Rows of the table."""
    torch.set_num_threads(1)
    split = benchmark.load_board("user-ranking", "ml-1m", data_dir=data_dir)
    pool = split.test.support(K)
    many = pool[torch.arange(BATCH) % len(pool)]
    rows = []
    for name in METHODS:
        short = {field: 2 for field in ("steps", "base_steps", "rounds", "epochs") if hasattr(build(entry(name)), field)}
        method = build(entry(name, short))
        if not method.unsupported(split.world):
            rows.append(line(name, method.fit(split.world, 0, lambda _: 0.0), many))
    return rows


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("COLDSTART_DATA", "."))
    print(tabulate(measure(folder), ["method", "ms a user", "users/s at 512", "bytes a user"], disable_numparse=True))
