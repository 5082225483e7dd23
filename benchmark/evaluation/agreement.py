"""How far two runs of one cell agree: what a reader may expect of the third."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Agreement = Literal["bit-exact", "close", "statistical", "different"]
CLOSE = 1e-6  # of a metric: another order of summing moves no more
Z = 1.96


def agreement(one: Mapping[str, NDArray[np.float64]], other: Mapping[str, NDArray[np.float64]]) -> Agreement:
    """The weakest of what holds for the metrics of both, task by task.

    `bit-exact`: every number is the same; `close`: none is further apart than rounding; `statistical`: the
    mean difference, paired by task, has a 95% interval that holds 0; `different`: it has not.
    """
    order: tuple[Agreement, ...] = ("bit-exact", "close", "statistical", "different")
    found = [_of_one(np.asarray(one[name]), np.asarray(other[name])) for name in sorted(one.keys() & other.keys())]
    return max(found, key=order.index, default="different")


def _of_one(one: NDArray[np.float64], other: NDArray[np.float64]) -> Agreement:
    if one.shape != other.shape:
        return "different"
    if np.array_equal(one, other):
        return "bit-exact"
    gap = one - other
    if np.abs(gap).max() <= CLOSE:
        return "close"
    error = gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else 0.0
    return "statistical" if abs(gap.mean()) <= Z * error else "different"
