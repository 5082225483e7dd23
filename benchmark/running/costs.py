"""What cells will take, from what earlier cells took; pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmark.evaluation.references import REFERENCES

LEAST_SECONDS = 1e-3  # to which facts are rounded: no ratio is taken of less
Place = tuple[str, str]  # board, data set
Source = Literal["itself", "another board", "the board's median", "unknown"]


@dataclass(frozen=True)
class Cost:
    """Seconds that a cell will take, and what says so."""

    seconds: float | None
    source: Source


class Past:
    """What cells have taken: (board, data set, method, seconds) of each."""

    def __init__(self, took: Iterable[tuple[str, str, str, float]]) -> None:
        every: dict[Place, dict[str, list[float]]] = {}
        for board, dataset, method, seconds in took:
            every.setdefault((board, dataset), {}).setdefault(method, []).append(max(seconds, LEAST_SECONDS))
        self._median = {place: {method: median(of) for method, of in methods.items()} for place, methods in every.items()}

    def cost(self, board: str, dataset: str, method: str) -> Cost:
        """Of the same method here; else of it on the data set's other boards, scaled; else of the board's middle method.

        The scale is how much longer the methods take here that both boards have, by the median; 1 where there is none.
        The chance and oracle rows are no methods: they are estimated from each other only.
        """
        here = self._median.get((board, dataset), {})
        if method in here:
            return Cost(here[method], "itself")
        others = [of for (_, data), of in self._median.items() if data == dataset and method in of]
        if others:
            return Cost(median(of[method] * _scale(here, of) for of in others), "another board")
        alike = [seconds for name, seconds in here.items() if (name in REFERENCES) == (method in REFERENCES)]
        return Cost(median(alike), "the board's median") if alike else Cost(None, "unknown")


def _scale(here: dict[str, float], there: dict[str, float]) -> float:
    ratios = [here[method] / there[method] for method in here.keys() & there.keys()]
    return median(ratios) if ratios else 1.0


def wall_seconds(costs: Sequence[float], workers: int) -> float:
    """How long cells take in this order, each given to the worker that is free first."""
    free = [0.0] * workers
    for seconds in costs:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)
