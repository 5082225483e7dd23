"""Speed records: what a method took on one machine, beside and apart from what it scored.

`<root>/speed/<board>/<dataset>/<method>/<machine>.json`: accuracy is the same everywhere and has one
record; a timing belongs to its machine, and each machine has its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from benchmark.files import write_atomic
from benchmark.records.schema import Fact, Frozen, Identity, Sha256, refuse_future
from benchmark.records.store import CellStore, Key

SCHEMA_VERSION = 1


class Latency(Frozen):
    """Milliseconds of one entity, over all repeats; `device_p50` by the GPU's own clock."""

    p50: float = Field(gt=0)
    p95: float = Field(gt=0)
    p99: float = Field(gt=0)
    reference_p50: float = Field(gt=0)  # of the reference method, in turns with this one
    device_p50: float | None = None

    @property
    def ratio(self) -> float:
        return self.p50 / self.reference_p50


class Throughput(Frozen):
    """Entities adapted a second, by the median repeat."""

    entities_per_second: float = Field(gt=0)
    reference: float = Field(gt=0)
    at_once: int = Field(ge=1)  # fewer than asked for where the device's memory was too small


class SpeedRecord(Frozen):
    """One method on one machine. What was not measured is None."""

    schema_version: int = Field(default=SCHEMA_VERSION, strict=True, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    identity: Identity
    status: Literal["ok", "failed"]
    reason: str = ""
    traceback: str = ""
    shots: int = Field(default=0, ge=0)
    n_partners: int = Field(default=0, ge=0)
    repeats: int = Field(default=0, ge=0)
    reference: str = ""
    fit_seconds: float = Field(default=0.0, ge=0)  # with what the warm-up took beyond answering
    training_seconds: float = Field(default=0.0, ge=0)  # of the fit, without its validations
    asking_seconds: float = Field(default=0.0, ge=0)  # in adapt and score, of the reference too
    train_tasks: int = Field(default=0, ge=0)  # drawn from the sampler; 0 for a method that does not
    adapt_ms: Latency | None = None
    adapt_and_rank_ms: Latency | None = None
    throughput: dict[int, Throughput] = Field(default_factory=dict)  # entities at once, as asked for
    state_bytes: float | None = Field(default=None, ge=0)  # an entity
    parameters: int = Field(default=0, ge=0)
    host_bytes: int | None = None  # peak of the fit, its validations among it, above what was held before
    serve_host_bytes: int | None = None  # peak of serving, above what was held after the fit
    device_bytes: int | None = None
    serve_device_bytes: int | None = None
    joules: float | None = None  # an entity, adapted in the largest batch
    agreement: str = ""  # with the accuracy cell of the same identity, fitted in another process
    timing_sha256: Sha256  # of the code that measured
    machine: dict[str, Fact]
    machine_id: Sha256
    before: dict[str, Fact] = Field(default_factory=dict)
    after: dict[str, Fact] = Field(default_factory=dict)
    noise: tuple[str, ...] = ()  # why these timings deserve less trust; none on a quiet machine
    notes: tuple[str, ...] = ()
    versions: dict[str, str]

    @property
    def train_tasks_per_second(self) -> float | None:
        """Training tasks a second of the fit, validation apart."""
        return self.train_tasks / self.training_seconds if self.train_tasks and self.training_seconds > 0 else None

    @property
    def key(self) -> Key:
        one = self.identity
        return (one.board, one.dataset, one.method, one.seed_index)


def machine_id(machine: Mapping[str, Fact]) -> str:
    """One hash of what a machine is; two timings with another one never stand in one table."""
    return hashlib.sha256(json.dumps(dict(machine), sort_keys=True).encode()).hexdigest()


class SpeedStore:
    """The speed records under one folder."""

    def __init__(self, root: Path) -> None:
        self.root, self._cells = root, CellStore(root)

    def path(self, key: Key, machine: str) -> Path:
        """Where a record lies."""
        cell = self._cells.path(key).relative_to(self.root / "cells")
        return self.root / "speed" / cell.parent / f"{machine[:12]}.json"

    def write(self, record: SpeedRecord) -> SpeedRecord:
        """Writes a record whole."""
        write_atomic(self.path(record.key, record.machine_id), record.model_dump_json(indent=1).encode() + b"\n")
        return record

    def read(self, key: Key, machine: str) -> SpeedRecord | None:
        """A record, or None where there is none or it is torn. Raises BenchmarkError where a later suite wrote it."""
        record = self.read_at(self.path(key, machine))
        return record if record is not None and (record.key, record.machine_id) == (key, machine) else None

    def read_at(self, path: Path) -> SpeedRecord | None:
        """The record at `path`; None also where that is not its place."""
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            try:
                record = SpeedRecord.model_validate_json(content)
            except ValidationError:
                refuse_future(path, content, SCHEMA_VERSION)
                return None
            return record if self.path(record.key, record.machine_id) == path else None
        return None

    def remove(self, key: Key, machine: str) -> None:
        self.path(key, machine).unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """Where records lie, whole or torn, in an order that the file system does not decide."""
        return sorted(self.root.glob("speed/*/*/*/*.json"))

    def records(self) -> list[SpeedRecord]:
        """Every whole record, sorted by key and machine."""
        found = [record for path in self.paths() if (record := self.read_at(path)) is not None]
        return sorted(found, key=lambda record: (record.key, record.machine_id))

    @contextlib.contextmanager
    def lock(self, key: Key, machine: str) -> Any:
        """Holds the record for this process; waits while another has it."""
        board, dataset, method, seed_index = key
        with self._cells.lock((board, dataset, f"{method} on {machine}", seed_index)):
            yield
