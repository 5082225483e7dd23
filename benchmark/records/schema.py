"""The schema of a cell record: everything needed to trace, trust and repeat a number.

A record holds what is the same wherever the cell is run. What differs from run to run stands apart, in `RunFacts`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import BenchmarkError

SCHEMA_VERSION = 2  # of cell records; those of version 1 held the facts of their run
Status = Literal["ok", "failed", "unsupported"]
Fact = str | int | float  # of a machine
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Identity(Frozen):
    """What decides a cell's numbers. Two cells with one identity are the same cell."""

    protocol: str
    board: str
    board_sha256: Sha256  # of all that the board file decides
    dataset: str
    dataset_sha256: Sha256
    fingerprint: Sha256  # of the split
    seed_index: int = Field(ge=0)
    seed: int = Field(ge=0)  # derived, never chosen
    method: str = Field(min_length=1)  # the row's name
    target: str  # "module:Class", or "harness" for the chance and oracle rows
    config: dict[str, Any]  # every hyperparameter
    code_sha256: Sha256  # the method's file and the shared pieces it may import
    harness_sha256: Sha256  # contract, data, protocol and evaluation
    device: str  # "cpu" or "cuda"
    torch: str  # another build may round otherwise


class BoardFacts(Frozen):
    """The board as it was run, so that a table can be made from records alone."""

    title: str
    description: str
    track: str
    goal: Literal["rating", "ranking"]
    cut: str
    shots: tuple[int, ...]
    relevant_from: float
    metric: str
    higher_is_better: bool
    metrics: tuple[str, ...]
    n_seeds: int  # seeds that the board asks for
    synthetic: bool
    terms: str
    draws: int = Field(default=1, ge=1)  # seeds that ask the same entities, which are then one task
    published: dict[str, dict[str, float]] = {}  # of a preset: row -> metric -> what its paper says
    called: dict[str, str] = {}  # of a preset: row -> its name there


class CellRecord(Frozen):
    """One cell. `failed` and `unsupported` are results too, and are shown as such."""

    schema_version: int = Field(default=SCHEMA_VERSION, strict=True, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    identity: Identity
    board: BoardFacts
    status: Status
    reason: str = ""  # one sentence where status is not ok
    notes: tuple[str, ...] = ()  # where the work went on with less than was asked for: a smaller batch
    n_tasks: int = Field(ge=0)
    counts: dict[str, int]
    summary: dict[str, dict[int, float]]  # metric -> k -> mean over tasks, or the cell's own figure
    rows_sha256: str = ""  # of the parquet beside this file; empty where there is none
    parameters: int = Field(ge=0)
    tuning: dict[str, Any] = {}  # the search that chose the configuration: trials, seconds, scores; empty for defaults
    versions: dict[str, str]

    @property
    def key(self) -> tuple[str, str, str, int]:
        one = self.identity
        return (one.board, one.dataset, one.method, one.seed_index)


class RunFacts(Frozen):
    """What one run of a cell took, and where; no number of a table comes from here."""

    schema_version: Literal[1] = 1
    seconds: float = Field(default=0.0, ge=0)  # of the whole cell, its split included
    fit_seconds: float = Field(default=0.0, ge=0)
    evaluate_seconds: float = Field(default=0.0, ge=0)
    training_seconds: float = Field(default=0.0, ge=0)  # in every fit of the cell, without its validations
    asking_seconds: float = Field(default=0.0, ge=0)  # in adapt and score, for validation and test
    machine: dict[str, Fact] = Field(default_factory=dict)
    traceback: str = ""  # of a failed cell; it names paths of the machine


def refuse_future(path: Path, content: bytes, known: int) -> None:
    """Raises BenchmarkError where a file that does not fit the schema says that it is of a later one than `known`.

    Such a file is whole, so it may not be taken for a torn one and written over.
    """
    with contextlib.suppress(ValueError):
        told = json.loads(content)
        got = told.get("schema_version") if isinstance(told, dict) else None
        if isinstance(got, int) and got > known:
            raise BenchmarkError(
                f"{path} is a record of schema version {got}, and this suite reads versions up to {known}: a later suite wrote it; "
                "update the suite, or give another --out"
            )
