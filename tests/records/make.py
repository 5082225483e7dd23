"""Cell records made by hand."""

from __future__ import annotations

from typing import Any

from benchmark.records.schema import BoardFacts, CellRecord, Identity

FACTS = BoardFacts(
    title="New users, predicting their ratings",
    description="A test.",
    track="user",
    goal="rating",
    cut="random",
    shots=(0, 1, 5),
    relevant_from=4.0,
    metric="mae",
    higher_is_better=False,
    metrics=("mae", "rmse", "ndcg@5-rated"),
    n_seeds=2,
    synthetic=True,
    terms="none",
)


def record(
    method: str = "bias", seed_index: int = 0, n_tasks: int = 2, status: Any = "ok", reason: str = "", **identity: Any
) -> CellRecord:
    """A record of `n_tasks` tasks; keywords change its identity."""
    facts = {
        "protocol": "1",
        "board": "user-rating",
        "board_sha256": "b" * 64,
        "dataset": "toy",
        "dataset_sha256": "a" * 64,
        "fingerprint": f"{seed_index:x}" * 64,
        "seed_index": seed_index,
        "seed": 7,
        "method": method,
        "target": "m:M",
        "config": {},
        "code_sha256": "c" * 64,
        "harness_sha256": "d" * 64,
        "device": "cpu",
        "torch": "2",
    }
    return CellRecord(
        identity=Identity(**{**facts, **identity}),
        board=FACTS,
        status=status,
        reason=reason,
        n_tasks=n_tasks,
        counts={
            "eligible": 100,
            "ineligible": 9,
            "test": n_tasks,
            "validation": n_tasks,
            "test_without_relevant_query": 0,
            "catalogue": 50,
        },
        summary={},
        parameters=0,
        versions={},
    )
