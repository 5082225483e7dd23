"""The same from Python: load a board, run methods, get a data frame.

split = benchmark.load_board("user-ranking", "ml-latest-small")     # split.world, split.test
frame = benchmark.run("user-ranking", "ml-latest-small", methods=["popularity", "my.module:Mine"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.data import store as data
from benchmark.errors import BenchmarkError
from benchmark.protocol import boards, tracks
from benchmark.protocol.fingerprint import check_fingerprint
from benchmark.protocol.tracks import Split
from benchmark.records.store import CellStore
from benchmark.reporting.markdown import EXPORT_KEYS, export
from benchmark.reporting.tables import tables
from benchmark.running import plan
from benchmark.running.executors import inline, local


def load_board(board: str, dataset: str, seed: int = 0, data_dir: str | Path | None = None) -> Split:
    """One seed of a board: `world` (what may be known), `validation` and `test` (tasks)."""
    loaded = boards.load(board)
    pins = loaded.pin(dataset).fingerprints
    split = tracks.cut(loaded, data.load(dataset, Path(data_dir) if data_dir else None), seed)
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

    No method named means all. One worker is this process itself; more are spawned, so a script then
    needs its `if __name__ == "__main__":`. The numbers are the same. Raises BenchmarkError, naming cell and reason, where a cell fails.
    """
    entries = plan.known_methods(list(methods), [])
    made = plan.make([board], [dataset], entries, seeds, device, Path(data_dir) if data_dir else None)
    store = CellStore(Path(out))
    todo = [cell for cell in made.cells if not cell.is_done(store.read(cell.key))]
    outcomes = inline.run(todo, store.root, device) if workers == 1 else local.run(todo, store.root, workers, device)
    bad = [one for one in outcomes if one.status in ("failed", "lost")]
    if bad:
        raise BenchmarkError(f"{len(bad)} cells failed; the first, {'/'.join(map(str, bad[0].cell.key))}: {bad[0].reason}")
    frame = results(out)
    return frame[(frame["board"] == boards.load(board).name) & (frame["dataset"] == dataset)].reset_index(drop=True)


def results(out: str | Path = "runs") -> pd.DataFrame:
    """Every number of every table under `out`, with the columns of `export`."""
    store = CellStore(Path(out))
    rows = [row for table in tables(store.records(), store.rows) for row in export(table)]
    return pd.DataFrame(rows, columns=list(EXPORT_KEYS))
