"""Tuned settings: small TOML files that say what a search chose, on which split, and for which seeds.

A search looks at validation entities, and where a data set is small those of one seed are the test
entities of another. So a file holds one study or more, each with the seeds whose test entities it has
never seen, and a cell takes the study that names its seed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import ProtocolError, UsageError
from benchmark.protocol.boards import Board, boards_folder
from benchmark.running import methods
from benchmark.running.methods import Entry

FOLDER = "tuned"


class Study(BaseModel):
    """What one search found."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed_index: int = Field(ge=0)  # its validation entities are this seed's
    fingerprint: str  # of that split
    seeds: tuple[int, ...]  # who may use it
    settings: dict[str, Any]  # fields that are set; the others keep their defaults
    trials: int  # that ended, failed ones included
    failed: int
    seconds: float
    code_sha256: str  # of the method as it was searched
    default_score: float | None = None  # on the validation entities, higher is better; None where the default failed
    best_score: float | None = None


def folders(out: Path) -> list[Path]:
    """Where tuned files are looked for: those of this OUT first, then those that the suite ships."""
    return [out / FOLDER, boards_folder().parent / FOLDER]


def path(folder: Path, board: str, dataset: str, method: str) -> Path:
    return folder / board / dataset / f"{method}.toml"


def read(file: Path) -> list[Study]:
    """The studies of a tuned file; a UsageError where it is none."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        return [Study.model_validate({**one, "seeds": tuple(one["seeds"])}) for one in table["study"]]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, KeyError, ValidationError) as error:
        what = " ".join(str(error).split())
        raise UsageError(
            f"tuned file '{file}' cannot be read ({type(error).__name__}: {what}); tune again, remove it, or run with --untuned"
        ) from None


def apply(entry: Entry, board: Board, dataset: str, seed_index: int, prints: Sequence[str], where: Sequence[Path]) -> Entry:
    """`entry` with the tuned settings of this board, data set and seed, where there are any.

    `prints` [seeds] holds the fingerprints of the board's splits. Raises ProtocolError where the file
    was made on another split.
    """
    file = next((found for folder in where if (found := path(folder, board.name, dataset, entry.name)).is_file()), None)
    if file is None:
        return entry
    study = next((one for one in read(file) if seed_index in one.seeds), None)
    if study is None:
        return entry
    here = prints[study.seed_index] if study.seed_index < len(prints) else "of a seed that the board does not have"
    if study.fingerprint != here:
        raise ProtocolError(
            f"tuned file '{file}' was made on the split {study.fingerprint} and board '{board.name}' on '{dataset}', seed "
            f"{study.seed_index}, is {here}; tune again, remove the file, or run with --untuned"
        )
    told = study.model_dump(exclude={"settings", "seeds"})
    chosen = replace(entry, settings={**entry.settings, **study.settings}, tuning=told)
    try:
        methods.build(chosen)
    except UsageError as error:
        raise UsageError(f"tuned file '{file}': {error}; tune again, remove the file, or run with --untuned") from None
    return chosen
