"""How many tasks it takes to see a difference between two methods, from how much their paired differences vary.

With n tasks the mean paired difference has the standard error sd / sqrt(n). A true difference d is found
significant at the level 95% (two-sided) in 80% of experiments where d = (1.96 + 0.84) sd / sqrt(n)
(Cohen 1988, Statistical Power Analysis for the Behavioral Sciences).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

DIFFERENCE = 0.005  # of the board's metric
Z = 1.96 + 0.84  # two-sided 95%, and a power of 80%
Floats = NDArray[np.float64]


def tasks_to_see(sd: float, difference: float = DIFFERENCE) -> int:
    """Tasks that show a `difference` between two methods whose paired differences have the standard deviation `sd`."""
    return max(1, math.ceil(round(Z**2 * sd**2 / difference**2, 6)))  # 3136.0000000000005 tasks are 3136


def paired_sd(areas: Mapping[str, Mapping[int, Floats]], n_slices: int) -> float | None:
    """The standard deviation over tasks of the paired difference between two methods: the median over all pairs.

    `areas` [method][seed] holds a figure a task [T]. Seeds that are equal modulo `n_slices` ask the same tasks, and a
    task counts once, with the mean over its draws. A pair is compared on the seeds that both have. None where no
    pair shares two tasks.
    """

    @cache
    def tasks(method: str, seeds: frozenset[int]) -> Floats:
        draws: dict[int, list[Floats]] = {}
        for seed in sorted(seeds):
            draws.setdefault(seed % n_slices, []).append(areas[method][seed])
        return np.concatenate([np.mean(draws[one], 0) for one in sorted(draws)])

    found = []
    for one, other in itertools.combinations(areas, 2):
        seeds = frozenset(areas[one]) & frozenset(areas[other])
        if seeds and len(ours := tasks(one, seeds)) > 1:
            found.append(float(np.std(ours - tasks(other, seeds), ddof=1)))
    return float(np.median(found)) if found else None
