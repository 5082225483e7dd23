"""The fingerprint of a split: one hash that says whether two labs hold the same one.

sha256 over the protocol version, the data set's own sha256, the cut, the shots and the canonical
bytes of (entity, role, partner, order), rows sorted. Only the hash is published, never a rating.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import ProtocolError
from benchmark.protocol.seeds import PROTOCOL_VERSION

WARM, VALIDATION_SUPPORT, VALIDATION_QUERY, TEST_SUPPORT, TEST_QUERY = range(5)


def fingerprint(
    dataset_sha256: str,
    cut: str,
    shots: tuple[int, ...],
    relevant_from: float,
    rows: NDArray[np.int64],
) -> str:
    """The hash of `rows` [N, 4] int64: entity, role, partner, place in the support (else 0)."""
    head = {
        "protocol": PROTOCOL_VERSION,
        "dataset": dataset_sha256,
        "cut": cut,
        "shots": list(shots),
        "relevant_from": relevant_from,
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    order = np.lexsort((rows[:, 2], rows[:, 3], rows[:, 1], rows[:, 0]))
    digest.update(np.ascontiguousarray(rows[order], dtype="<i8").tobytes())
    return digest.hexdigest()


def check_fingerprint(board: str, dataset: str, seed_index: int, got: str, pinned: str) -> None:
    """Refuses a split that is not the published one."""
    if got != pinned:
        raise ProtocolError(
            f"board '{board}' on '{dataset}', seed {seed_index}: this split has fingerprint {got} and "
            f"the board pins {pinned}; numbers from it could not be compared, so nothing was run. "
            "Restore the board file and the data, or, for a new board, pin it with "
            f"`python -m benchmark doctor --pins {board}`"
        )
