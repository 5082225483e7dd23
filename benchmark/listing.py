"""What there is: boards, data sets and methods. Imports no torch, no pandas."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.catalogue import SOURCES
from benchmark.protocol import boards
from benchmark.running import methods


def listing(data_dir: Path | None) -> str:
    """The text of `list`."""
    lines = ["boards"]
    for name in boards.board_names():
        board = boards.load(name)
        lines.append(f"  {name:<16} {board.title}")
        lines.append(f"  {'':<16} by {board.metric}; shots {', '.join(map(boards.k_label, board.shots))}; on {', '.join(board.datasets)}")
    lines += ["", "data sets"]
    for name, source in SOURCES.items():
        ready = "ready" if is_here(source.archive, data_dir) or source.embedded else f"python -m benchmark data fetch {name}"
        lines.append(f"  {name:<16} {source.title}; {ready}")
        lines.append(f"  {'':<16} {source.terms}")
    lines += ["", "methods"]
    for name, (target, _) in methods.table().items():
        lines.append(f"  {name:<22} {methods.summary(target)}")
    return "\n".join(lines)


def is_here(archive: str, data_dir: Path | None) -> bool:
    from benchmark.data.store import folders

    return any((folder / archive).is_file() for folder in folders(data_dir))
