"""The plan: which cells a command asks for, which are done, and which data sets are not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.data import store as data
from benchmark.data.catalogue import source
from benchmark.data.checking import way_to
from benchmark.errors import BenchmarkError, UsageError, unknown
from benchmark.evaluation.references import REFERENCES
from benchmark.protocol import boards, tracks
from benchmark.protocol.boards import Board
from benchmark.protocol.seeds import PROTOCOL_VERSION, derive_seed
from benchmark.records.schema import CellRecord, Identity
from benchmark.records.store import Key
from benchmark.running import environment, methods, tuned
from benchmark.running.methods import Entry

HARNESS_TARGET = "harness"
NO_SPLIT = "0" * 64  # stands for the fingerprint of a split that cannot be made; no record holds it


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
        return record.identity == self.identity and record.tuning == self.entry.tuning


@dataclass(frozen=True)
class Plan:
    cells: list[Cell]
    absent: dict[str, list[str]]  # data set -> boards that wait for it


def make(
    board_names: Sequence[str],
    dataset_names: Sequence[str],
    entries: Sequence[Entry] | None,
    n_seeds: int | None,
    device: str,
    data_dir: Path | None,
    tuned_folders: Sequence[Path] = (),
) -> Plan:
    """Every cell of these boards, data sets and methods, in the order that reuses a split longest.

    No data set named means each one that is here; one named and not here is a UsageError. No `entries`
    means a preset's own rows, and every method on the other boards. A method as the table has it takes
    the settings that a file in `tuned_folders` holds for it.
    """
    chosen = {name: boards.load(name) for name in board_names}
    check_boards(chosen)
    check_datasets(list(chosen.values()), dataset_names)
    rows = {name: entries if entries is not None else rows_of(board) for name, board in chosen.items()}
    every = {entry.name: entry.target for own in rows.values() for entry in own}
    as_named = {name for name, target in every.items() if name in (*methods.table(), target)}  # no field was set by hand
    presets = {name for name, board in chosen.items() if board.rows and entries is None}  # they run as their paper had them
    cells: list[Cell] = []
    absent: dict[str, list[str]] = {}
    for name, board in chosen.items():
        for dataset in [d for d in board.datasets if not dataset_names or d in dataset_names]:
            if data.find(dataset, data_dir) is None:
                absent.setdefault(dataset, []).append(board.name)
                continue
            seeds = seed_indices(board, dataset, n_seeds)
            prints = fingerprints(board, dataset, seed_indices(board, dataset, None), data_dir)
            for seed_index in seeds:
                references = [Entry(reference, HARNESS_TARGET) for reference in REFERENCES]
                for plain in [*references, *rows[name]]:
                    entry = (
                        tuned.apply(plain, board, dataset, seed_index, prints, tuned_folders)
                        if plain.name in as_named and name not in presets
                        else plain
                    )
                    identity = _identity(board, dataset, seed_index, prints[seed_index], entry, device)
                    cells.append(Cell(name, identity, entry, data_dir))
    if dataset_names and absent:
        missing = next(iter(absent))
        raise UsageError(
            f"data set '{missing}' is not here; {way_to(source(missing))}, or name the folder that "
            f"holds {' and '.join(source(missing).needs)} with --data-dir or COLDSTART_DATA"
        )
    return Plan(cells, absent)


def rows_of(board: Board) -> list[Entry]:
    """The rows that a preset names, or every method."""
    return [methods.entry(row.method, dict(row.settings)) for row in board.rows] or known_methods([], [])


def check_boards(chosen: Mapping[str, Board]) -> None:
    """No two board files share a name: their cells would be taken for each other's."""
    by_name: dict[str, str] = {}
    for file, board in chosen.items():
        other = by_name.setdefault(board.name, file)
        if other != file:
            raise UsageError(f"the board files '{other}' and '{file}' are both called '{board.name}'; give one another name")


def fingerprints(board: Board, dataset: str, seeds: range, data_dir: Path | None) -> list[str]:
    """The pinned fingerprints, or, of a board that pins none, those of the splits as they come out here."""
    pinned = board.pin(dataset).fingerprints
    if pinned:
        return list(pinned)
    try:
        loaded = data.load(dataset, data_dir)
        return [tracks.cut(board, loaded, seed_index).fingerprint for seed_index in seeds]
    except BenchmarkError:
        return [NO_SPLIT] * len(seeds)  # the session finds the same fault and says it once


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


def _identity(board: Board, dataset: str, seed_index: int, fingerprint: str, entry: Entry, device: str) -> Identity:
    reference = entry.target == HARNESS_TARGET
    return Identity(
        protocol=PROTOCOL_VERSION,
        board=board.name,
        board_sha256=board.on(dataset).sha256,
        dataset=dataset,
        dataset_sha256=source(dataset).sha256,
        fingerprint=fingerprint,
        seed_index=seed_index,
        seed=derive_seed(board.name, dataset, seed_index),
        method=entry.name,
        target=entry.target,
        config={} if reference else config(entry),
        code_sha256=environment.harness_sha256() if reference else environment.code_sha256(entry.target),
        harness_sha256=environment.harness_sha256(),
        device=device,
        torch=torch.__version__,
    )


def code_of(entry: Entry) -> str:
    """One hash of a method's code."""
    return environment.code_sha256(entry.target)


def checked_device(device: object) -> str:
    """`cpu` or `cuda`, if torch has it here."""
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device got {device!r}; wanted cpu or cuda (which GPU, the variable CUDA_VISIBLE_DEVICES says)")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here; leave the option out to run on the CPU")
    return str(device)


def checked_count(option: str, count: object) -> int:
    """A whole number from 1 on."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UsageError(f"{option} got {count!r}; wanted a whole number, 1 or more")
    return count


def known_methods(names: Sequence[str], settings: Sequence[tuple[str, str, Any]]) -> list[Entry]:
    """The entries of `names` (none named means all), with `settings` of (method, field, value)."""
    chosen = list(dict.fromkeys(names)) or list(methods.table())
    for method, _, _ in settings:
        if method not in chosen:
            raise UsageError("--set: " + unknown("chosen method", method, chosen))
    return [methods.entry(name, {field: value for method, field, value in settings if method == name}) for name in chosen]
