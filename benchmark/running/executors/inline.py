"""Cells in this very process, one after the other: for notebooks and scripts, where no process may be spawned."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.running.executors.acts import accuracy
from benchmark.running.executors.outcome import Act, Outcome
from benchmark.running.plan import Cell
from benchmark.running.run import own_process_state


class Inline:
    """No worker and no time limit: nothing here could stop a cell, and what kills one kills all."""

    def run(self, cells: Sequence[Cell], root: Path, act: Act = accuracy) -> Generator[Outcome, None, None]:
        """Yields each cell's start and end; the process's own threads, types and random streams are given back afterwards."""
        with own_process_state():
            for cell in cells:
                yield Outcome(cell, "running")
                started = time.monotonic()
                try:
                    record: Any = act(cell, root)
                    took = time.monotonic() - started
                    yield Outcome(cell, record.status, record.reason, took, record.training_seconds, record.asking_seconds)
                except BenchmarkError as error:
                    yield Outcome(cell, "lost", str(error), time.monotonic() - started)
