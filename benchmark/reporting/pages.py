"""Files of cells to files that people read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from benchmark.errors import UsageError, unknown
from benchmark.protocol import boards
from benchmark.records.store import CellStore, write_atomic
from benchmark.reporting.markdown import EXPORT_KEYS, export, page
from benchmark.reporting.tables import Table, tables


def read(out: Path) -> list[Table]:
    """Every table that the cells under `out` give."""
    store = CellStore(out)
    return tables(store.records(), store.rows)


def render(out: Path, to: Path | None = None, made: list[Table] | None = None) -> list[Path]:
    """Writes a page a board into `to` (default OUT/leaderboards); returns the pages."""
    made = read(out) if made is None else made
    if not made:
        raise UsageError(f"there are no finished cells under '{out}'; run `python -m benchmark run --all` or give another --out")
    folder = to or out / "leaderboards"
    written = []
    for board in sorted({table.board for table in made}):
        path = folder / f"{board}.md"
        write_atomic(path, page([table for table in made if table.board == board]).encode())
        written.append(path)
    return written


def exported(out: Path, board: str, dataset: str, form: str) -> str:
    """The numbers of one table as JSON or CSV text, one row a number."""
    made = {(table.board, table.dataset): table for table in read(out)}
    if (board, dataset) not in made:
        known = [*boards.board_names(), *(name for name, _ in made)]
        if board not in known:
            raise UsageError(unknown("board", board, sorted(set(known))))
        here = ", ".join("/".join(key) for key in made) or "none"
        raise UsageError(f"no finished cells of '{board}' on '{dataset}' under '{out}'; there are: {here}; `run` them first")
    rows = list(export(made[board, dataset]))
    if form == "json":
        return json.dumps(rows, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, EXPORT_KEYS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
