"""Training tasks drawn one by one from a dict of lists."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from benchmark.contract import Ratings, Support
from benchmark.protocol.tasks import Episode

Rows = list[tuple[int, float]]


def histories(ratings: Ratings) -> dict[int, Rows]:
    """entity -> her (partner, rating)."""
    found: dict[int, Rows] = {}
    for entity, partner, rating in zip(ratings.entity.tolist(), ratings.partner.tolist(), ratings.rating.tolist(), strict=True):
        found.setdefault(entity, []).append((partner, rating))
    return found


def sample(rows: dict[int, Rows], able: Sequence[int], shots: Sequence[int], n_tasks: int, n_query: int, luck: random.Random) -> Episode:
    """`n_tasks` of them: draw an entity, a k and her rows, task by task, then pad."""
    most = max(shots)
    entities, shown, pool, asked = [], [], [], []
    for _ in range(n_tasks):
        entity, k = luck.choice(able), luck.choice(shots)
        drawn = luck.sample(rows[entity], min(len(rows[entity]), most + n_query))
        entities.append(entity)
        shown.append(drawn[:k])
        pool.append(drawn[:most])
        asked.append(drawn[most:])
    partner, rating, mask = padded(shown, most)
    query, query_rating, query_mask = padded(asked, n_query)
    return Episode(
        Support(torch.tensor(entities), partner, rating, partner * 0, mask), padded(pool, most)[0], query, query_rating, query_mask
    )


def padded(tasks: list[Rows], width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(partner, rating, mask) of the tasks' rows, each [T, width]."""
    whole = torch.zeros(width)  # gives the width where no task has so many rows
    partner = pad_sequence([*(torch.tensor([p for p, _ in task], dtype=torch.int64) for task in tasks), whole.long()], batch_first=True)
    rating = pad_sequence([*(torch.tensor([r for _, r in task], dtype=torch.float32) for task in tasks), whole], batch_first=True)
    mask = torch.arange(width) < torch.tensor([len(task) for task in tasks])[:, None]
    return partner[:-1], rating[:-1], mask
