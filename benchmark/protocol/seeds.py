"""Seeds that nobody picks, and orders that nothing but the seed decides.

Splits must come out the same on every machine and with every library version for as long as the
protocol lives, so they do not rest on a library's random stream: rows are ordered by a keyed hash
of their own ids (splitmix64; Steele, Lea and Flood 2014, Fast Splittable Pseudorandom Number
Generators). The order of rows in a file therefore changes nothing either.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

PROTOCOL_VERSION = "1"

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from the protocol version and `parts`, e.g. (board, dataset, seed index)."""
    text = "\x1f".join([PROTOCOL_VERSION, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def keyed_hash(seed: int, *columns: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """One 64-bit hash a row of the integer `columns` [N], keyed by `seed`: [N] uint64."""
    state = np.full(columns[0].shape, np.uint64(seed), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            state = _mix((state ^ column.astype(np.uint64)) + _GAMMA)
    return state


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def permutation(seed: int, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct `ids` in an order that depends on the seed and on nothing else."""
    return ids[np.lexsort((ids, keyed_hash(seed, ids)))]
