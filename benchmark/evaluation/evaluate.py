"""Asks a learner for every task at every k, and keeps a row for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.contract import Learner, World, fits, halved
from benchmark.errors import MethodError
from benchmark.evaluation import metrics
from benchmark.evaluation.answers import Finite, checked_state, in_shape
from benchmark.protocol.boards import Board
from benchmark.protocol.tasks import Tasks
from benchmark.protocol.tracks import Split

SCORES_AT_ONCE = 4_000_000  # scores held in memory, which sets the batch


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured: columns with a row a (k, task), and figures that only a whole cell has."""

    columns: dict[str, NDArray[np.float64]]  # metric -> [n_k * T], k by k, tasks in order
    shots: tuple[int, ...]
    n_tasks: int
    whole: dict[str, dict[int, float]]  # metric -> k -> value, e.g. coverage@10

    def mean(self, metric: str, k: int) -> float:
        """The mean over tasks at k."""
        if metric in self.whole:
            return self.whole[metric][k]
        at = self.shots.index(k) * self.n_tasks
        return float(self.columns[metric][at : at + self.n_tasks].mean())

    def area(self, metric: str) -> float:
        """The mean over the board's k >= 1."""
        return float(np.mean([self.mean(metric, k) for k in self.shots if k >= 1]))


def evaluate(learner: Learner, board: Board, world: World, tasks: Tasks) -> Evaluation:
    """Adapts and scores every task at each k of the board.

    Raises MethodError where the answer breaks the contract: that is a failed cell, not a low score.
    """
    tasks.support(max(board.shots)).checked(world)
    measure, size = _measure(board, world, tasks), batch_size(world, tasks)
    columns, whole = [], []
    with torch.no_grad():
        for k in board.shots:
            one = measure()
            size = in_runs(len(tasks), size, partial(_ask, learner, tasks, k, one), f"k = {k}")
            one.finite.check()
            columns.append(one.columns())
            whole.append(one.whole())
    together = {name: np.concatenate([of_k[name] for of_k in columns]) for name in columns[0]}
    return Evaluation(together, board.shots, len(tasks), _by_metric(board.shots, whole))


def _ask(learner: Learner, tasks: Tasks, k: int, one: _Ranking | _Rating, run: slice) -> None:
    """Adapts to a run of tasks and measures the answer; nothing here makes the host wait for a device."""
    batch = tasks[run]
    # Adaptation may need gradients of its own; only the harness works without them.
    with torch.enable_grad():
        state = checked_state(learner.adapt(batch.support(k)), len(batch))
    one.add(learner, state, batch)


def in_runs(n_tasks: int, size: int, work: Callable[[slice], None], where: str) -> int:
    """Does `work` for every run of `size` tasks, or of fewer where the device's memory is too small; returns the size it ended with."""
    start = 0
    while start < n_tasks:
        run = slice(start, min(start + size, n_tasks))
        if fits(partial(work, run)):
            start = run.stop
        elif run.stop - start == 1:
            raise MethodError(f"out of device memory with a single task at {where}; run it on the CPU or on a larger device")
        else:
            size = halved(run.stop - start)
    return size


def validator(split: Split) -> Callable[[Learner], float]:
    """Scores a learner on the validation tasks by the board's own metric; higher is better."""
    if not len(split.validation):
        return _no_validation(split.board.name)
    later = tuple(k for k in split.board.shots if k >= 1)
    # Only what validation needs is bound: the function goes to the method, and test tasks must not go with it.
    return _validator(replace(split.board, shots=later), split.world, split.validation)


def _no_validation(board: str) -> Callable[[Learner], float]:
    def refuse(_: Learner) -> float:
        raise MethodError(f"board '{board}' has no validation entities, so no method that stops early or chooses a checkpoint runs on it")

    return refuse


def _validator(board: Board, world: World, tasks: Tasks) -> Callable[[Learner], float]:
    def validate(learner: Learner) -> float:
        area = evaluate(learner, board, world, tasks).area(board.metric)
        return area if board.higher_is_better else -area

    return validate


def batch_size(world: World, tasks: Tasks) -> int:
    """Tasks that are scored together: fewer where the catalogue is long, or a support."""
    rows = tasks.pool_partner.shape[1] + tasks.given_partner.shape[1]
    return max(16, min(1024, SCORES_AT_ONCE // max(world.n_partners, 16 * rows)))


def _by_metric(shots: tuple[int, ...], found: list[dict[str, float]]) -> dict[str, dict[int, float]]:
    return {name: {k: one[name] for k, one in zip(shots, found, strict=True)} for name in found[0]}


def _measure(board: Board, world: World, tasks: Tasks) -> Callable[[], _Ranking | _Rating]:
    """Makes what measures one k."""
    if board.goal == "rating":
        return partial(_Rating, board, world)
    return partial(_Ranking, world, tasks.candidate, popularity(world))


class _Ranking:
    """Full-catalogue metrics of one k, batch by batch."""

    def __init__(self, world: World, candidate: Tensor, known: Tensor) -> None:
        self.finite = Finite()
        self._world, self._coverage, self._popularity = world, metrics.Coverage(candidate), known
        self._parts: list[dict[str, Tensor]] = []

    def add(self, learner: Learner, state: dict[str, Tensor], tasks: Tasks) -> None:
        shape = (len(tasks), self._world.n_partners)
        given = in_shape(learner.score(state), shape, self._world.device)
        scores = given.masked_fill(~tasks.candidates(), -torch.inf)
        self.finite.add(given)
        relevant = relevant_partners(self._world, tasks)
        places = metrics.top_places(scores, relevant)
        part = metrics.ranking(places, metrics.n_relevant(relevant))
        part["popularity@10"] = metrics.mean_popularity(places, scores, self._popularity)
        self._coverage.add(places, scores)  # last: a batch that ran out of memory before counts nothing
        self._parts.append(part)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        return {name: torch.cat([part[name] for part in self._parts]).cpu().numpy() for name in self._parts[0]}

    def whole(self) -> dict[str, float]:
        return {"coverage@10": self._coverage.share()}


def relevant_partners(world: World, tasks: Tasks) -> Tensor:
    """[T, n_partners] bool: query partners rated `relevant_from` or more."""
    relevant = torch.zeros(len(tasks), world.n_partners, dtype=torch.bool, device=world.device)
    relevant[tasks.query_task(), tasks.query_partner] = tasks.query_rating >= world.relevant_from  # a pair has one row
    return relevant


def popularity(world: World) -> Tensor:
    """The share of warm entities that rated each partner: [n_partners] float64."""
    counts = torch.bincount(world.ratings.partner, minlength=world.n_partners).double()
    share: Tensor = counts / (torch.bincount(world.ratings.entity) > 0).sum()
    return share


def over_chance(ndcg: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(ndcg - chance) / (1 - chance) of each task, with one denominator for the cell: [T].

    A task whose query ratings are all equal has nothing to gain and would be 0 / 0 alone. The mean is
    then (mean - mean chance) / (1 - mean chance).
    """
    room = (1 - chance).mean()
    return (ndcg - chance) / room if room > 0 else np.zeros_like(ndcg)


class _Rating:
    """Errors over the query of one k, batch by batch."""

    def __init__(self, board: Board, world: World) -> None:
        self.finite = Finite()
        self._board, self._world = board, world
        self._parts: list[dict[str, Tensor]] = []
        self._rows: list[Tensor] = []

    def add(self, learner: Learner, state: dict[str, Tensor], tasks: Tasks) -> None:
        partner, rating, mask = tasks.padded_query()
        scores = in_shape(learner.score(state, partner), tuple(partner.shape), self._world.device)
        self.finite.add(scores)
        # Predictions are clipped to the scale where errors are counted; clipping would tie what was ordered.
        predicted = scores.clamp(*self._world.rating_range)
        ndcg, chance = metrics.rated_ndcg(scores, rating, mask)
        part = {**metrics.errors(predicted, rating, mask), "ndcg": ndcg, "chance": chance}
        self._rows.append(tasks.query_offset.diff().double())
        self._parts.append(part)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        found = {name: torch.cat([part[name] for part in self._parts]).cpu().numpy() for name in self._parts[0]}
        ndcg, chance = found.pop("ndcg"), found.pop("chance")
        return {**found, "ndcg@5-rated": over_chance(ndcg, chance)}

    def whole(self) -> dict[str, float]:
        """Errors over all rows of the cell, where the board asks for them: other numbers than means over tasks."""
        if "pooled-rmse" not in self._board.metrics:
            return {}
        rows = torch.cat(self._rows)
        mae, rmse = (torch.cat([part[name] for part in self._parts]) for name in ("mae", "rmse"))
        return {
            "pooled-rmse": float(((rmse.square() * rows).sum() / rows.sum()).sqrt()),
            "pooled-mae": float((mae * rows).sum() / rows.sum()),
        }
