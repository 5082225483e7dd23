"""Split certificates: what a board's splits of a data set are, in counts and hashes, for those who may not have the data.

A certificate holds no id, no rating and no row; whoever has the data can make it again and compare.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.protocol import tracks
from benchmark.protocol.boards import Board, k_label
from benchmark.protocol.seeds import PROTOCOL_VERSION
from benchmark.protocol.tasks import Tasks
from benchmark.protocol.tracks import Split


def certificate(board: Board, dataset: Dataset) -> dict[str, Any]:
    """All seeds of `board` on `dataset`."""
    own = board.on(dataset.name)
    return {
        "board": board.name,
        "board_sha256": own.sha256,
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
        "protocol": PROTOCOL_VERSION,
        "cut": board.cut,
        "shots": [k_label(k) for k in own.shots],
        "rows": len(dataset),
        "users": len(dataset.users),
        "items": len(dataset.items),
        "repeats_removed": dataset.repeats,
        "seeds": [_seed(tracks.cut(board, dataset, seed_index)) for seed_index in range(board.pin(dataset.name).seeds)],
    }


def _seed(split: Split) -> dict[str, Any]:
    found: dict[str, Any] = {
        "seed": split.seed_index,
        "fingerprint": split.fingerprint,
        "relevant_from": split.world.relevant_from,
        "counts": split.counts,
        "query_rows": _spread(split.test.query_offset.diff().numpy()),
        "relevant_rows": _spread(_relevant(split.test, split.world.relevant_from)),
        "candidates": _spread(_candidates(split.test)),
        "sha256": split.hashes,
    }
    return found | ({"frozen": {"fingerprint": split.frozen.fingerprint, "sha256": split.frozen.hashes}} if split.frozen else {})


def _relevant(tasks: Tasks, relevant_from: float) -> Any:
    liked = (tasks.query_rating >= relevant_from).numpy()
    return np.bincount(tasks.query_task().numpy()[liked], minlength=len(tasks))


def _candidates(tasks: Tasks) -> Any:
    withheld = tasks.candidate[tasks.pool_partner] & tasks.pool_mask
    return (tasks.candidate.sum() - withheld.sum(1)).numpy()


def _spread(of_tasks: Any) -> dict[str, float]:
    """The least, middle, mean and most over tasks."""
    mean = round(float(np.mean(of_tasks)), 2)
    return {"least": int(np.min(of_tasks)), "median": float(np.median(of_tasks)), "mean": mean, "most": int(np.max(of_tasks))}
