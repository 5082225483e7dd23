"""Coded, cut and sampled: how long a data set of so many million rows takes until its first batch of tasks, and how much memory.

    python -m tests.benchmarks.scale 10 100

Each size runs in a process of its own; the rows are made beforehand, by a power law, and are not counted.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmark.data import columns, synthetic
from benchmark.data.catalogue import SOURCES
from benchmark.data.coding import distinct
from benchmark.data.dataset import Side, build
from benchmark.protocol import boards, tracks
from benchmark.protocol.tasks import TaskSampler

THREADS = 2
NAMES = ("user", "item", "rating", "time")


def make(folder: Path, millions: float) -> None:
    """Raw columns as files."""
    for name, column in zip(NAMES, synthetic.power_law(int(millions * 1e6)), strict=True):
        np.save(folder / f"raw-{name}.npy", column)


def measure(folder: Path) -> None:
    """Prints the seconds of each step and the peak of memory."""
    torch.set_num_threads(THREADS)
    entry, board = SOURCES["ml-latest-small"], boards.load("user-ranking")
    started = time.perf_counter()
    user, item, rating, when = (np.load(folder / f"raw-{name}.npy") for name in NAMES)
    sides = Side.bare(distinct(user)), Side.bare(distinct(item))
    dataset = build(entry.name, entry.sha256, (user, item, rating.astype(np.float32), when.astype(np.int64)), sides, (1.0, 5.0))
    del user, item, rating, when
    columns.write(folder / "columns", dataset)
    del dataset
    coded = time.perf_counter()
    read = columns.read(folder / "columns", entry)
    assert read is not None
    opened = time.perf_counter()
    split = tracks.cut(board, read, 0)
    cut = time.perf_counter()
    batch, support = TaskSampler(split.world, 0).sample(256), split.test[:256].support(max(board.shots))
    sampled = time.perf_counter()
    assert len(batch.support) == len(support) == 256
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(read):>12,} rows {len(read.users):>9,} users {len(read.items):>8,} items: coded {coded - started:6.1f} s, "
        f"opened {opened - coded:5.1f}, cut {cut - opened:6.1f}, first batch {sampled - cut:5.1f}, "
        f"together {sampled - started:6.1f} s, {peak:.2f} GiB"
    )


if __name__ == "__main__":
    if sys.argv[1] == "--in":
        measure(Path(sys.argv[2]))
    else:
        for size in map(float, sys.argv[1:]):
            with tempfile.TemporaryDirectory() as made:
                make(Path(made), size)
                subprocess.run([sys.executable, "-m", "tests.benchmarks.scale", "--in", made], check=True)
