"""Track `drift`: how a method fares from window to window, fitted again before each and frozen as before the first.

What a refit is worth grows with the time since the last fit; the curve of that is the staleness of the frozen model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.protocol.boards import FROZEN
from benchmark.records.schema import BoardFacts
from benchmark.reporting.statistics import Bootstrap, Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Staleness:
    """The board's metric, its mean over k >= 1, in each window; and what the refits gain after the first, above 0 where they help."""

    refitted: tuple[float, ...]
    frozen: tuple[float, ...]
    n_tasks: tuple[int, ...]
    gain: Interval | None  # paired by task, over the windows after the first; None where there is none


def staleness(facts: BoardFacts, values: dict[str, Floats], later: Sequence[int], window: NDArray[np.int64]) -> Staleness | None:
    """From one method's `values`, metric -> [T, n_k]; `later` are the columns of k >= 1, `window` [T] says when a task was asked."""
    if FROZEN + facts.metric not in values:
        return None
    refitted, frozen = (values[name][:, list(later)].mean(1) for name in (facts.metric, FROZEN + facts.metric))
    present = np.unique(window)
    after = window > present[0]
    gain = (refitted - frozen)[after] * (1 if facts.higher_is_better else -1)
    return Staleness(
        tuple(float(refitted[window == one].mean()) for one in present),
        tuple(float(frozen[window == one].mean()) for one in present),
        tuple(int((window == one).sum()) for one in present),
        Bootstrap(window[after].tolist()).intervals(gain[:, None])[0] if after.any() else None,
    )
