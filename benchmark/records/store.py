"""Cells on disk: `<root>/<board>/<dataset>/<method>/seed-<i>.json` and a parquet beside it.

The JSON is written last and by rename, so a cell is there whole or not at all; it names the hash of
its parquet. A killed run leaves at most a temporary file, which the next run removes. Two runs on
one folder are kept apart cell by cell with locks that die with their process.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from benchmark import files
from benchmark.files import write_atomic
from benchmark.records.lock import held
from benchmark.records.schema import CellRecord

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

    def write(self, record: CellRecord, rows: pa.Table | None) -> CellRecord:
        """Writes a cell whole; returns the record with its parquet's hash filled in."""
        path = self.path(record.key)
        if rows is not None:
            buffer = io.BytesIO()
            pq.write_table(rows, buffer, compression="zstd")
            content = buffer.getvalue()
            record = record.model_copy(update={"rows_sha256": hashlib.sha256(content).hexdigest()})
            write_atomic(path.with_suffix(".parquet"), content)
        else:
            path.with_suffix(".parquet").unlink(missing_ok=True)
        write_atomic(path, record.model_dump_json(indent=1).encode() + b"\n")
        return record

    def read(self, key: Key) -> CellRecord | None:
        """A cell, or None where there is none, it is torn or edited, or its parquet is not the one it names."""
        path = self.path(key)
        try:
            record = CellRecord.model_validate_json(path.read_bytes())
            if record.status == "ok":
                content = path.with_suffix(".parquet").read_bytes()
                if hashlib.sha256(content).hexdigest() != record.rows_sha256 or not _agree(record, content):
                    return None
        except (OSError, ValidationError, pa.ArrowException):
            return None
        return record if record.key == key else None

    def glance(self, key: Key) -> CellRecord | None:
        """A cell as `read` gives it, its means taken on trust: a tenth of the work, for telling what is done among thousands.

        That the parquet is the one the record names is checked; that the record's means are those of its rows is not. No
        number may come from here: tables are made of `records`, which checks it, and a cell that fails there is forgotten.
        """
        path = self.path(key)
        with contextlib.suppress(OSError, ValidationError):
            record = CellRecord.model_validate_json(path.read_bytes())
            if record.key == key and (record.status != "ok" or _hash(path.with_suffix(".parquet")) == record.rows_sha256):
                return record
        return None

    def remove(self, key: Key) -> None:
        """Forgets a cell; its JSON goes first, since that is what makes it a cell."""
        self.path(key).unlink(missing_ok=True)
        self.path(key).with_suffix(".parquet").unlink(missing_ok=True)

    def rows(self, record: CellRecord) -> dict[str, list[float]]:
        """The columns of a cell's parquet: task, k and the metrics."""
        columns: dict[str, list[float]] = pq.read_table(self.path(record.key).with_suffix(".parquet")).to_pydict()
        return columns

    def records(self) -> list[CellRecord]:
        """Every whole cell, in an order that the file system does not decide."""
        found = []
        for path in self.root.glob("cells/*/*/*/seed-*.json"):
            with contextlib.suppress(OSError, ValidationError):
                record = CellRecord.model_validate_json(path.read_bytes())
                if self.path(record.key) == path and self.read(record.key) is not None:
                    found.append(record)
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


def _agree(record: CellRecord, content: bytes) -> bool:
    """Whether the record says of its rows what they are: so many tasks at each k, and these means."""
    rows = pq.read_table(io.BytesIO(content))
    n, shots = record.n_tasks, record.board.shots
    if rows.num_rows != n * len(shots):
        return False
    for metric in set(rows.column_names) & set(record.summary):
        values = rows[metric].to_pylist()
        for place, k in enumerate(shots):
            mean = math.fsum(values[place * n : (place + 1) * n]) / n
            if not math.isclose(record.summary[metric].get(k, math.nan), mean, rel_tol=1e-9, abs_tol=1e-12):
                return False
    return True


def _quoted(name: str) -> str:
    safe = quote(name, safe="[]=,+ ")
    return safe.replace(".", "%2E") if safe.startswith(".") else safe
