"""The two things that are done with a cell."""

from __future__ import annotations

from pathlib import Path

from benchmark.records.store import CellStore
from benchmark.running.executors.outcome import Ended
from benchmark.running.plan import Cell
from benchmark.running.run import run_cell
from benchmark.running.speed import run_speed_cell


def accuracy(cell: Cell, root: Path) -> Ended:
    """Runs a cell, for its accuracy."""
    return run_cell(cell, CellStore(root))


def speed(cell: Cell, root: Path) -> Ended:
    """Measures a cell's speed; alone on its device."""
    return run_speed_cell(cell, root)
