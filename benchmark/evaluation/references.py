"""The two rows that frame every table: chance, analytic task by task, and the oracle."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.contract import Learner, State, Support, World
from benchmark.evaluation import metrics
from benchmark.evaluation.evaluate import Evaluation, evaluate, over_chance, popularity, relevant_partners
from benchmark.protocol.boards import METRICS, Board
from benchmark.protocol.tasks import Tasks

REFERENCES = ("chance", "oracle")


def reference(name: str, board: Board, world: World, tasks: Tasks) -> Evaluation:
    """The row called `name`, the same at every k."""
    if board.goal == "rating":
        return evaluate(_TrainingMean(world), board, world, tasks) if name == "chance" else _perfect(board, tasks)
    return _ranking_chance(board, world, tasks) if name == "chance" else _perfect(board, tasks)


class _TrainingMean(Learner):
    """Chance of a `rating` board: the training mean as a constant."""

    def __init__(self, world: World) -> None:
        self._mean = world.ratings.rating.double().mean().float()
        self._n_partners = world.n_partners

    def adapt(self, support: Support) -> State:
        return {"mean": self._mean.expand(len(support), 1)}

    def score(self, state: State, partner: torch.Tensor | None = None) -> torch.Tensor:
        columns = self._n_partners if partner is None else partner.shape[1]
        return state["mean"].expand(-1, columns)


def _ranking_chance(board: Board, world: World, tasks: Tasks) -> Evaluation:
    n_relevant = relevant_partners(world, tasks).sum(1).cpu()
    may = tasks.candidates().cpu()
    candidates = may.sum(1).double()
    one = metrics.ranking(metrics.chance_places(candidates, n_relevant), n_relevant)
    known = popularity(world).cpu()
    mean = may.double() @ known / candidates
    # A partner is missed by each of the tasks in which it is a candidate, independently.
    miss = (1 - metrics.TOP / candidates).clamp(min=0.0)
    coverage = float((1 - torch.where(may, miss[:, None], 1.0).prod(0))[tasks.candidate.cpu()].mean())
    one["popularity@10"] = mean
    return _at_every_k(board, len(tasks), {k: v.numpy() for k, v in one.items()}, {"coverage@10": coverage})


def _perfect(board: Board, tasks: Tasks) -> Evaluation:
    if board.goal == "ranking":
        columns = {name: np.ones(len(tasks)) for name in METRICS["ranking"] if name not in ("coverage@10", "popularity@10")}
        return _at_every_k(board, len(tasks), columns, {})
    _, rating, mask = tasks.padded_query()
    ndcg, chance = (one.cpu().numpy() for one in metrics.rated_ndcg(rating, rating, mask))
    zero = np.zeros(len(tasks))
    return _at_every_k(board, len(tasks), {"mae": zero, "rmse": zero, "ndcg@5-rated": over_chance(ndcg, chance)}, {})


def _at_every_k(board: Board, n_tasks: int, columns: dict[str, np.ndarray], whole: dict[str, float]) -> Evaluation:
    return Evaluation(
        {name: np.tile(np.asarray(column, dtype=np.float64), len(board.shots)) for name, column in columns.items()},
        board.shots,
        n_tasks,
        {name: dict.fromkeys(board.shots, value) for name, value in whole.items()},
    )
