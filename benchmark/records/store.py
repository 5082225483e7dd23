"""Cells on disk: `<root>/cells/<board>/<dataset>/<method>/seed-<i>.json` and a parquet beside it.

The JSON is written last and by rename, so a cell is there whole or not at all; it names the hash of
its parquet. Both are the same bytes wherever the cell is run; `seed-<i>.run.json` holds what one run
took, is written before them and decides nothing: a cell without it is whole. A killed run leaves at
most a temporary file, which the next run removes. Two runs on one folder are kept apart cell by cell
with locks that die with their process.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from benchmark import files
from benchmark.files import write_atomic
from benchmark.records.lock import held
from benchmark.records.schema import SCHEMA_VERSION, CellRecord, RunFacts, refuse_future

Key = tuple[str, str, str, int]  # board, dataset, method, seed index


def label(key: Key) -> str:
    """A cell's name as people read it."""
    board, dataset, method, seed_index = key
    return f"{board}/{dataset}/{method}/seed-{seed_index}"


class CellStore:
    """The cells under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: Key) -> Path:
        """Where the cell's JSON lies; names are quoted, so none can leave the folder."""
        board, dataset, method, seed_index = key
        folders = [_quoted(part) for part in (board, dataset, method)]
        return self.root.joinpath("cells", *folders, f"seed-{seed_index}.json")

    def write(self, record: CellRecord, rows: pa.Table | None, facts: RunFacts | None = None) -> CellRecord:
        """Writes a cell whole; returns the record with its parquet's hash filled in."""
        content = None
        if rows is not None:
            buffer = io.BytesIO()
            pq.write_table(rows, buffer, compression="zstd")
            content = buffer.getvalue()
            record = record.model_copy(update={"rows_sha256": hashlib.sha256(content).hexdigest()})
        self.put(record.key, _written(record), content, facts)
        return record

    def put(self, key: Key, record: bytes, rows: bytes | None, facts: RunFacts | None) -> None:
        """Writes the files of a cell, that which makes it a cell last; what is None is removed."""
        path = self.path(key)
        beside = {".run.json": None if facts is None else _written(facts), ".parquet": rows}
        for suffix, content in beside.items():
            if content is None:
                path.with_suffix(suffix).unlink(missing_ok=True)
            else:
                write_atomic(path.with_suffix(suffix), content)
        write_atomic(path, record)

    def read(self, key: Key) -> CellRecord | None:
        """A cell, or None where there is none, it is torn or edited, or its parquet is not the one it names.

        Raises BenchmarkError where a later suite wrote it.
        """
        record = self.read_at(self.path(key))
        return record if record is not None and record.key == key else None

    def read_at(self, path: Path) -> CellRecord | None:
        """The cell whose JSON lies at `path`; None also where that is not its place."""
        try:
            told = path.read_bytes()
            record = _record(path, told)
            if record.status == "ok":
                content = path.with_suffix(".parquet").read_bytes()
                if hashlib.sha256(content).hexdigest() != record.rows_sha256 or not _agree(record, content):
                    return None
        except (OSError, ValidationError, pa.ArrowException):
            return None
        return record if self.path(record.key) == path else None

    def facts(self, key: Key) -> RunFacts | None:
        """What the run of a cell took; None where nothing readable says so."""
        with contextlib.suppress(OSError, ValidationError):
            return RunFacts.model_validate_json(self.path(key).with_suffix(".run.json").read_bytes())
        return None

    def glance(self, key: Key) -> CellRecord | None:
        """A cell as `read` gives it, its means taken on trust: a fortieth of the work, for telling what is done among thousands.

        That the parquet is the one the record names is checked; that the record's means are those of its rows is not. No
        number may come from here: tables are made of `records`, which checks it, and a cell that fails there is forgotten.
        """
        path = self.path(key)
        with contextlib.suppress(OSError, ValidationError):
            record = _record(path, path.read_bytes())
            if record.key == key and (record.status != "ok" or _hash(path.with_suffix(".parquet")) == record.rows_sha256):
                return record
        return None

    def remove(self, key: Key) -> None:
        """Forgets a cell; its JSON goes first, since that is what makes it a cell."""
        for suffix in (".json", ".parquet", ".run.json"):
            self.path(key).with_suffix(suffix).unlink(missing_ok=True)

    def rows(self, record: CellRecord) -> dict[str, list[float]]:
        """The columns of a cell's parquet: task, k and the metrics."""
        columns: dict[str, list[float]] = _table(self.path(record.key).with_suffix(".parquet").read_bytes()).to_pydict()
        return columns

    def column(self, record: CellRecord, metric: str) -> Any:
        """One metric of every row, as an array [n_k * T]: all tasks at the first k, then at the next."""
        return _table(self.path(record.key).with_suffix(".parquet").read_bytes(), [metric])[metric].to_numpy()

    def paths(self) -> list[Path]:
        """Where JSON of cells lies, whole or torn, in an order that the file system does not decide."""
        return sorted(self.root.glob("cells/*/*/*/seed-*[0-9].json"))

    def records(self) -> list[CellRecord]:
        """Every whole cell, sorted by key."""
        found = [record for path in self.paths() if (record := self.read_at(path)) is not None]
        return sorted(found, key=lambda record: record.key)

    @contextlib.contextmanager
    def lock(self, key: Key) -> Iterator[None]:
        """Holds the cell for this process; waits while another has it."""
        name = hashlib.sha256("\x1f".join(map(str, key)).encode()).hexdigest()[:32]
        with held(self.root / "locks" / f"{name}.lock", label(key)):
            yield

    def sweep(self) -> None:
        """Removes what killed writers left among the cells."""
        files.sweep(self.root / "cells")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _written(model: CellRecord | RunFacts) -> bytes:
    return model.model_dump_json(indent=1).encode() + b"\n"


def _record(path: Path, content: bytes) -> CellRecord:
    try:
        return CellRecord.model_validate_json(content)
    except ValidationError:
        refuse_future(path, content, SCHEMA_VERSION)
        raise


def _table(content: bytes, columns: list[str] | None = None) -> pa.Table:
    """A small parquet file. Its threads would cost several times what reading does."""
    return pq.ParquetFile(pa.BufferReader(content)).read(columns, use_threads=False)


def _agree(record: CellRecord, content: bytes) -> bool:
    """Whether the record says of its rows what they are: so many tasks at each k, and these means."""
    rows = _table(content)
    n, shots = record.n_tasks, record.board.shots
    if rows.num_rows != n * len(shots):
        return False
    for metric in set(rows.column_names) & set(record.summary):
        for k, mean in zip(shots, rows[metric].to_numpy().reshape(len(shots), n).mean(1).tolist(), strict=True):
            if not math.isclose(record.summary[metric].get(k, math.nan), mean, rel_tol=1e-9, abs_tol=1e-12):
                return False
    return True


def _quoted(name: str) -> str:
    safe = quote(name, safe="[]=,+ ")
    return safe.replace(".", "%2E") if safe.startswith(".") else safe
