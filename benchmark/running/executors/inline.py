"""Cells in this very process, one after the other: for notebooks and scripts, where no process may be spawned."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.records.store import CellStore
from benchmark.running.executors.local import Outcome
from benchmark.running.plan import Cell
from benchmark.running.run import own_process_state, run_cell


def run(cells: Sequence[Cell], root: Path) -> Generator[Outcome, None, None]:
    """Yields each cell's end; the process's own threads, types and random streams are given back afterwards."""
    store = CellStore(root)
    with own_process_state():
        for cell in cells:
            started = time.monotonic()
            try:
                record = run_cell(cell, store)
                yield Outcome(cell, record.status, record.reason, time.monotonic() - started)
            except BenchmarkError as error:
                yield Outcome(cell, "lost", str(error), time.monotonic() - started)
