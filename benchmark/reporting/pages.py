"""Files of cells to files that people read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from benchmark.errors import UsageError, unknown
from benchmark.files import write_atomic
from benchmark.protocol import boards
from benchmark.records.speed import SpeedStore
from benchmark.records.store import CellStore
from benchmark.reporting.markdown import EXPORT_KEYS, export, page
from benchmark.reporting.speed import SpeedTable, speed_page, speed_tables
from benchmark.reporting.tables import Table, tables


def read(out: Path) -> list[Table]:
    """Every table that the cells under `out` give."""
    store = CellStore(out)
    return tables(store.records(), store.rows)


def read_speed(out: Path) -> list[SpeedTable]:
    """Every speed table that the records under `out` give."""
    return speed_tables(SpeedStore(out).records(), CellStore(out).records())


def render(out: Path, to: Path | None = None, made: list[Table] | None = None) -> list[Path]:
    """Writes a page a board into `to` (default OUT/leaderboards); returns the pages."""
    made = read(out) if made is None else made
    if not made:
        raise UsageError(f"there are no finished cells under '{out}'; run `python -m benchmark run --all` or give another --out")
    folder = to or out / "leaderboards"
    measured, written = read_speed(out), []
    for board in sorted({table.board for table in made}):
        path = folder / f"{board}.md"
        beside: dict[tuple[str, str], list[str]] = {(one.dataset, one.board_sha256): [] for one in measured}
        for one in measured:
            if one.board == board:
                beside[one.dataset, one.board_sha256] += ["", *speed_page(one)]
        write_atomic(path, page([table for table in made if table.board == board], beside).encode())
        written.append(path)
    return written


def exported(out: Path, board: str, dataset: str, form: str) -> str:
    """The numbers of one table as JSON or CSV text, one row a number."""
    made = read(out)
    if board not in (known := {*boards.board_names(), *(table.board for table in made)}):
        raise UsageError(unknown("board", board, sorted(known)))
    found = [table for table in made if (table.board, table.dataset) == (board, dataset)]
    if len(found) > 1 and board in boards.board_names():  # the board was edited: its present version speaks
        present = boards.load(board).on(dataset).sha256
        found = [table for table in found if table.board_sha256 == present] or found
    if not found:
        here = ", ".join(f"{table.board}/{table.dataset}" for table in made) or "none"
        raise UsageError(f"no finished cells of '{board}' on '{dataset}' under '{out}'; there are: {here}; `run` them first")
    if len(found) > 1:
        raise UsageError(
            f"the cells of '{board}' on '{dataset}' under '{out}' are of {len(found)} versions of the board; remove the old ones "
            f"from '{out / 'cells' / board}', or run the board with another --out"
        )
    rows = list(export(found[0]))
    if form == "json":
        return json.dumps(rows, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, EXPORT_KEYS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
