"""What there is: boards, data sets and methods. Imports no torch, no pandas."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.amazon_2023 import FAMILY
from benchmark.data.catalogue import SOURCES
from benchmark.data.store import fetch_command, is_here
from benchmark.protocol import boards
from benchmark.running import methods


def listing(data_dir: Path | None) -> str:
    """The text of `list`."""
    lines = ["boards"]
    for name in boards.board_names():
        board = boards.load(name)
        lines.append(f"  {name:<16} {board.title}")
        on = ", ".join(f"{dataset} (ready)" if is_here(dataset, data_dir) else dataset for dataset in board.datasets)
        lines.append(f"  {'':<16} by {board.metric}; shots {', '.join(map(boards.k_label, board.shots))}; on {on}")
    lines += ["", "data sets (more of each: python -m benchmark data info NAME)"]
    for name, source in SOURCES.items():
        lines.append(f"  {name:<36} {source.title}; {'ready' if is_here(name, data_dir) else f'{fetch_command(name)}'}")
    lines.append(f"  and {FAMILY}")
    lines += ["", "methods"]
    for name, (target, _) in methods.table().items():
        lines.append(f"  {name:<22} {methods.summary(target)}")
    return "\n".join(lines)
