"""The same from Python: load a board, run methods, get a data frame.

split = benchmark.load_board("user-ranking", "ml-latest-small")     # split.world, split.test
frame = benchmark.run("user-ranking", "ml-latest-small", methods=["popularity", "my.module:Mine"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.data import store as data
from benchmark.errors import BenchmarkError, UsageError
from benchmark.protocol import boards, tracks
from benchmark.protocol.fingerprint import check_fingerprint
from benchmark.protocol.tracks import Split
from benchmark.records.store import CellStore
from benchmark.reporting.markdown import EXPORT_KEYS, export
from benchmark.reporting.pages import read
from benchmark.reporting.tables import Table
from benchmark.running import plan, tuned
from benchmark.running.executors import inline, local


def load_board(board: str, dataset: str, seed: int = 0, data_dir: str | Path | None = None) -> Split:
    """One seed of a board: `world` (what may be known), `validation` and `test` (tasks)."""
    loaded = boards.load(board)
    folder = Path(data_dir) if data_dir else None
    if not isinstance(seed, int) or seed not in plan.seed_indices(loaded, dataset, None):
        raise UsageError(f"board '{loaded.name}' on '{dataset}' has seeds 0 to {loaded.pin(dataset).seeds - 1}, not {seed!r}")
    data.verify(dataset, folder)
    split = tracks.cut(loaded, data.load(dataset, folder), seed)
    pins = loaded.pin(dataset).fingerprints
    if pins:
        check_fingerprint(loaded.name, dataset, seed, split.fingerprint, pins[seed])
    return split


def run(
    board: str,
    dataset: str,
    methods: Sequence[str] = (),
    seeds: int | None = None,
    out: str | Path = "runs",
    workers: int = 1,
    device: str = "cpu",
    data_dir: str | Path | None = None,
) -> pd.DataFrame:
    """Runs what is not yet done under `out` and returns the board's numbers, one row a number.

    No method named means all; a class typed into the notebook is "__main__:Mine". One worker is this
    process itself; more are spawned, so a script then needs its `if __name__ == "__main__":`. The
    numbers are the same. Raises UsageError for names that do not exist, and BenchmarkError, naming
    cell and reason, where a cell fails.
    """
    if isinstance(methods, str) or not all(isinstance(name, str) for name in methods):
        raise UsageError(f"methods got {methods!r}; wanted a list of names, such as ['popularity', 'my_package.mine:Mine']")
    plan.checked_count("workers", workers)
    plan.checked_device(device)
    if seeds is not None:
        plan.checked_count("seeds", seeds)
    if workers > 1 and any(name.startswith("__main__:") for name in methods):
        raise UsageError("a class of the notebook itself runs with workers=1; put it into a module for more")
    entries, where = plan.known_methods(list(methods), []) if methods else None, tuned.folders(Path(out))
    made = plan.make([board], [dataset], entries, seeds, device, Path(data_dir) if data_dir else None, where)
    data.verify(dataset, Path(data_dir) if data_dir else None)
    store = CellStore(Path(out))
    todo = [cell for cell in made.cells if not cell.is_done(store.read(cell.key))]
    outcomes = list(inline.Inline().run(todo, store.root) if workers == 1 else local.Local(workers, device).run(todo, store.root))
    bad = [one for one in outcomes if one.status in ("failed", "lost")]
    if bad:
        raise BenchmarkError(f"{len(bad)} cells failed; the first, {'/'.join(map(str, bad[0].cell.key))}: {bad[0].reason}")
    mine = boards.load(board).on(dataset)
    found = [table for table in read(Path(out)) if (table.board, table.dataset, table.board_sha256) == (mine.name, dataset, mine.sha256)]
    return _frame(found)


def results(out: str | Path = "runs") -> pd.DataFrame:
    """Every number of every table under `out`, with the columns of `export`."""
    return _frame(read(Path(out)))


def _frame(found: Sequence[Table]) -> pd.DataFrame:
    return pd.DataFrame([row for table in found for row in export(table)], columns=list(EXPORT_KEYS))
