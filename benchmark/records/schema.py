"""The schema of a cell record: everything needed to trace, trust and repeat a number."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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

    schema_version: Literal[1] = 1
    identity: Identity
    board: BoardFacts
    status: Literal["ok", "failed", "unsupported"]
    reason: str = ""  # one sentence where status is not ok
    traceback: str = ""
    notes: tuple[str, ...] = ()  # where the work went on with less than was asked for: a smaller batch
    n_tasks: int = Field(ge=0)
    counts: dict[str, int]
    summary: dict[str, dict[int, float]]  # metric -> k -> mean over tasks, or the cell's own figure
    rows_sha256: str = ""  # of the parquet beside this file; empty where there is none
    fit_seconds: float = Field(ge=0)
    evaluate_seconds: float = Field(ge=0)
    training_seconds: float = Field(default=0.0, ge=0)  # in every fit of the cell, without its validations
    asking_seconds: float = Field(default=0.0, ge=0)  # in adapt and score, for validation and test
    parameters: int = Field(ge=0)
    tuning: dict[str, Any] = {}  # the search that chose the configuration: trials, seconds, scores; empty for defaults
    machine: dict[str, str | int | float]
    versions: dict[str, str]

    @property
    def key(self) -> tuple[str, str, str, int]:
        one = self.identity
        return (one.board, one.dataset, one.method, one.seed_index)
