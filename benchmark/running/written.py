"""What is written of a cell: its record, and a row a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from benchmark.data.catalogue import source
from benchmark.evaluation.evaluate import Evaluation
from benchmark.protocol.boards import Board
from benchmark.protocol.tracks import Split
from benchmark.records.schema import BoardFacts, CellRecord, Identity, Status
from benchmark.running import environment, methods


def record_of(
    one: Identity,
    made: Split,
    found: Evaluation | None = None,
    parameters: int = 0,
    status: Status = "ok",
    reason: str = "",
) -> CellRecord:
    """The record of a cell: of what was `found`, or why there are no numbers."""
    board = made.board
    facts = BoardFacts(
        title=board.title,
        description=board.description,
        track=board.track,
        goal=board.goal,
        cut=board.cut,
        shots=board.shots,
        relevant_from=board.relevant_from,
        metric=board.metric,
        higher_is_better=board.higher_is_better,
        metrics=board.metrics,
        n_seeds=board.pin(made.dataset).seeds,
        synthetic=made.synthetic,
        terms=source(made.dataset).terms,
        draws=board.draws(made.dataset),
        **_published(board, made.dataset),
    )
    names = [*found.columns, *found.whole] if found else []
    summary = {name: {k: found.mean(name, k) for k in found.shots} for name in names} if found else {}
    return CellRecord(
        identity=one,
        board=facts,
        status=status,
        reason=reason,
        n_tasks=len(made.test),
        counts=made.counts,
        summary=summary,
        parameters=parameters,
        versions=environment.versions(),
    )


def _published(board: Board, dataset: str) -> dict[str, Any]:
    """What a preset's paper says of its rows on this data set."""
    rows = [(methods.entry(row.method, dict(row.settings)).name, row) for row in board.rows]
    return {
        "published": {name: dict(row.published[dataset]) for name, row in rows if dataset in row.published},
        "called": {name: row.called for name, row in rows if row.called},
    }


def rows_of(found: Evaluation) -> pa.Table:
    """A row a (k, task): the unit of every interval. Tasks are numbered, users are not named."""
    task = np.tile(np.arange(found.n_tasks, dtype=np.int32), len(found.shots))
    k = np.repeat(np.array(found.shots, dtype=np.int32), found.n_tasks)
    return pa.table({"task": task, "k": k, **found.columns})
