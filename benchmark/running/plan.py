"""The plan: which cells a command asks for, which are done, and which data sets are not here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.data import store as data
from benchmark.data.catalogue import SOURCES, source
from benchmark.errors import UsageError, unknown
from benchmark.evaluation.references import REFERENCES
from benchmark.protocol import boards
from benchmark.protocol.boards import Board
from benchmark.protocol.seeds import PROTOCOL_VERSION, derive_seed
from benchmark.records.schema import CellRecord, Identity
from benchmark.records.store import Key
from benchmark.running import environment, methods
from benchmark.running.methods import Entry

HARNESS_TARGET = "harness"
UNPINNED = "0" * 64


@dataclass(frozen=True)
class Cell:
    """One unit of work: a method, or a reference row, on one seed of a board and data set."""

    board: str  # name or path of the board file
    identity: Identity
    entry: Entry
    data_dir: Path | None

    @property
    def key(self) -> Key:
        one = self.identity
        return (one.board, one.dataset, one.method, one.seed_index)

    @property
    def is_reference(self) -> bool:
        return self.entry.target == HARNESS_TARGET

    def is_done(self, record: CellRecord | None) -> bool:
        """Whether `record` is this very cell, finished. A failed cell is tried again."""
        if record is None or record.status == "failed":
            return False
        wanted = self.identity
        if wanted.fingerprint == UNPINNED:
            wanted = wanted.model_copy(update={"fingerprint": record.identity.fingerprint})
        return record.identity == wanted


@dataclass(frozen=True)
class Plan:
    cells: list[Cell]
    absent: dict[str, list[str]]  # data set -> boards that wait for it


def make(
    board_names: Sequence[str],
    dataset_names: Sequence[str],
    entries: Sequence[Entry],
    n_seeds: int | None,
    device: str,
    data_dir: Path | None,
) -> Plan:
    """Every cell of these boards, data sets and methods, in the order that reuses a split longest.

    No data set named means each one that is here; one named and not here is a UsageError.
    """
    chosen = [boards.load(name) for name in board_names]
    check_datasets(chosen, dataset_names)
    configs = {entry.name: config(entry) for entry in entries}
    cells: list[Cell] = []
    absent: dict[str, list[str]] = {}
    for name, board in zip(board_names, chosen, strict=True):
        for dataset in [d for d in board.datasets if not dataset_names or d in dataset_names]:
            if data.find(dataset, data_dir) is None:
                absent.setdefault(dataset, []).append(board.name)
                continue
            for seed_index in seed_indices(board, dataset, n_seeds):
                references = [Entry(reference, HARNESS_TARGET) for reference in REFERENCES]
                for entry in [*references, *entries]:
                    identity = _identity(board, dataset, seed_index, entry, configs.get(entry.name, {}), device)
                    cells.append(Cell(name, identity, entry, data_dir))
    if dataset_names and absent:
        missing = next(iter(absent))
        raise UsageError(
            f"data set '{missing}' is not here; get it with `{data.fetch_command(missing)}`, or name the folder that "
            f"holds {source(missing).archive} with --data-dir or COLDSTART_DATA"
        )
    return Plan(cells, absent)


def check_datasets(chosen: Sequence[Board], names: Sequence[str]) -> None:
    """Every named data set exists, and stands on at least one of the boards."""
    for name in names:
        source(name)
        if not any(name in board.datasets for board in chosen):
            on = ", ".join(sorted({d for board in chosen for d in board.datasets}))
            raise UsageError(f"data set '{name}' is on none of the boards {', '.join(b.name for b in chosen)}; they run on {on}")


def seed_indices(board: Board, dataset: str, n_seeds: int | None) -> range:
    """The board's seeds, or its first `n_seeds`."""
    published = board.pin(dataset).seeds
    if n_seeds is not None and not 1 <= n_seeds <= published:
        raise UsageError(
            f"board '{board.name}' on '{dataset}' has {published} seeds, and {n_seeds} were asked for; ask for 1 to {published}"
        )
    return range(n_seeds or published)


def config(entry: Entry) -> dict[str, Any]:
    """Every hyperparameter of a method, as it will run."""
    method: Any = methods.build(entry)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(method).items()}


def _identity(board: Board, dataset: str, seed_index: int, entry: Entry, settings: dict[str, Any], device: str) -> Identity:
    pins = board.pin(dataset).fingerprints
    reference = entry.target == HARNESS_TARGET
    return Identity(
        protocol=PROTOCOL_VERSION,
        board=board.name,
        dataset=dataset,
        dataset_sha256=SOURCES[dataset].sha256,
        fingerprint=pins[seed_index] if pins else UNPINNED,
        seed_index=seed_index,
        seed=derive_seed(board.name, dataset, seed_index),
        method=entry.name,
        target=entry.target,
        config=settings,
        code_sha256=environment.harness_sha256() if reference else environment.code_sha256(entry.target),
        harness_sha256=environment.harness_sha256(),
        device=device.split(":")[0],
        torch=torch.__version__,
    )


def known_methods(names: Sequence[str], settings: Sequence[tuple[str, str, Any]]) -> list[Entry]:
    """The entries of `names` (none named means all), with `settings` of (method, field, value)."""
    chosen = list(names) or list(methods.table())
    for method, _, _ in settings:
        if method not in chosen:
            raise UsageError("--set: " + unknown("chosen method", method, chosen))
    return [methods.entry(name, {field: value for method, field, value in settings if method == name}) for name in chosen]
