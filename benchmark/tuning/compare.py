"""Tuned against default, on the test entities: a paired difference for every method, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmark.files import write_atomic
from benchmark.protocol import boards
from benchmark.records.store import CellStore, Key
from benchmark.reporting.markdown import DASH, number, plain
from benchmark.reporting.statistics import Bootstrap, Interval
from benchmark.reporting.tables import slices_of, values_of
from benchmark.running import plan, tuned
from benchmark.running.executors import local
from benchmark.running.plan import Cell

DEFAULTS = "defaults"  # folder of the cells with default settings, under OUT/tuning
HEADS = ("method", "trials", "failed", "seconds", "valid. default", "tuned", "test default", "tuned", "difference", "95%", "changed")


def compare(
    out: Path,
    tuned_methods: Sequence[tuple[str, str, str]],
    na: dict[str, str],
    device: str,
    workers: int,
    data_dir: Path | None,
    seeds: int | None = None,
) -> tuple[str, int]:
    """Runs the cells of `tuned_methods` (board, dataset, method) twice; the tables, and how many cells failed.

    Tuned cells are the ones that `run` would make, and lie where it would put them.
    """
    texts, bad = [], 0
    for board_name, dataset in dict.fromkeys((board, dataset) for board, dataset, _ in tuned_methods):
        names = list(dict.fromkeys(m for b, d, m in tuned_methods if (b, d) == (board_name, dataset)))
        entries = plan.known_methods(names, [])
        default, chosen = (
            plan.make([board_name], [dataset], entries, seeds, device, data_dir, folders) for folders in ((), (out / tuned.FOLDER,))
        )
        plain_cells = {cell.key: cell for cell in default.cells if not cell.is_reference}
        cells = [cell for cell in chosen.cells if not cell.is_reference]
        here, there = CellStore(out), CellStore(out / "tuning" / DEFAULTS)
        bad += _run(list(plain_cells.values()), there, workers, device)
        changed = [cell for cell in cells if cell.identity.config != plain_cells[cell.key].identity.config]
        bad += _run(changed, here, workers, device)
        stores = {cell.key: here if cell in changed else there for cell in cells}
        board = boards.load(board_name)
        rows = [_row(name, board, dataset, out, plain_cells, there, stores) for name in names]
        title = f"{board.name} on {dataset}: {board.metric}, tuned on validation entities, against default"
        texts.append(f"{title}\n\n{tabulate(rows, HEADS, tablefmt='simple', disable_numparse=True)}")
        page = tabulate([[plain(row[0]), *row[1:-1], plain(row[-1])] for row in rows], HEADS, tablefmt="pipe", disable_numparse=True)
        write_atomic(out / "tuning" / board.name / f"{dataset}.md", f"# {title}\n\n{page}\n".encode())
    lines = [f"{label} n/a: {reason}" for label, reason in na.items()]
    return "\n\n".join([*texts, *(["\n".join(lines)] if lines else [])]), bad


def _run(cells: Sequence[Cell], store: CellStore, workers: int, device: str) -> int:
    todo = [cell for cell in cells if not cell.is_done(store.read(cell.key))]
    return sum(outcome.status in ("failed", "lost") for outcome in local.Local(workers, device).run(todo, store.root))


def _row(
    name: str,
    board: boards.Board,
    dataset: str,
    out: Path,
    default: dict[Key, Cell],
    there: CellStore,
    stores: dict[Key, CellStore],
) -> list[str]:
    studies = tuned.read(tuned.path(out / tuned.FOLDER, board.name, dataset, name))
    validation = [
        number(float(np.mean(scores))) if (scores := [s for one in studies if (s := getattr(one, field)) is not None]) else DASH
        for field in ("default_score", "best_score")
    ]
    changed = "; ".join(", ".join(f"{k}={_short(v)}" for k, v in one.settings.items()) or "nothing" for one in studies)
    effort = [str(sum(getattr(one, field) for one in studies)) for field in ("trials", "failed")]
    keys = [key for key in default if key[2] == name]
    before, after = (_areas(board, [(key, store) for key, store in zip(keys, side, strict=True)]) for side in _sides(keys, there, stores))
    if before is None or after is None:
        test = [DASH] * 4
    else:
        gap = Bootstrap(before[1]).intervals((after[0] - before[0])[:, None])[0]
        test = [number(float(before[0].mean())), number(float(after[0].mean())), f"{gap.mean:+.4f}", _ends(gap)]
    return [name, *effort, f"{sum(one.seconds for one in studies):.0f}", *validation, *test, changed]


def _sides(keys: Sequence[Key], there: CellStore, stores: dict[Key, CellStore]) -> tuple[list[CellStore], list[CellStore]]:
    """The stores of the default and of the tuned cells."""
    return [there] * len(keys), [stores[key] for key in keys]


def _areas(board: boards.Board, cells: Sequence[tuple[Key, CellStore]]) -> tuple[NDArray[np.float64], list[int]] | None:
    """The board's metric of each test task, its mean over k >= 1 [T], and the slice of each; None where a cell has no numbers."""
    found = [(record, store) for key, store in cells if (record := store.read(key)) is not None and record.status == "ok"]
    if len(found) < len(cells):
        return None
    of = {record.key: store for record, store in found}
    records = [record for record, _ in found]
    facts = records[0].board
    matrix = values_of(facts, records, lambda record: of[record.key].rows(record))[board.metric]
    slices = [draws[0].n_tasks for draws in slices_of(facts, records)]
    later = [k >= 1 for k in facts.shots]
    return matrix[:, later].mean(1), np.repeat(np.arange(len(slices)), slices).tolist()


def _ends(gap: Interval) -> str:
    return f"[{gap.low:+.4f}, {gap.high:+.4f}]"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
