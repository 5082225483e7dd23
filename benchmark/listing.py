"""What there is: boards, data sets and methods. Imports no torch, no pandas."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.amazon_2023 import FAMILY
from benchmark.data.catalogue import SOURCES
from benchmark.data.checking import way_to
from benchmark.data.store import is_here
from benchmark.protocol import boards
from benchmark.running import methods


def listing(data_dir: Path | None) -> str:
    """The text of `list`."""
    lines = ["boards"]
    for name in boards.board_names():
        board = boards.load(name)
        lines.append(f"  {name:<20} {board.title}; by {board.metric}")
        for dataset, pin in board.datasets.items():
            tasks = boards.n_test_tasks(name, dataset)
            told = f"{tasks:>6,} tasks over {pin.seeds} seeds" if tasks is not None else f"{pin.seeds} seeds, splits not pinned yet"
            shots = ", ".join(map(boards.k_label, board.on(dataset).shots))
            lines.append(f"    {dataset:<36} {told}; shots {shots}; {'ready' if is_here(dataset, data_dir) else 'not here'}")
    lines += ["", "data sets (more of each: python -m benchmark data info NAME)"]
    for name, source in SOURCES.items():
        lines.append(f"  {name:<36} {source.title}; {'ready' if is_here(name, data_dir) else way_to(source)}")
    lines.append(f"  and {FAMILY}")
    lines += ["", "methods"]
    for name, (target, _) in methods.table().items():
        lines.append(f"  {name:<22} {methods.summary(target)}")
    return "\n".join(lines)
