"""Collaborative methods: how fast they fit ML-1M, and how fast they score all of its users.

    python -m tests.benchmarks.collaborative_speed [folder with ml-1m.zip]

One thread, every user warm. Seconds of one fit; seconds to adapt 6,040 users to their own histories, and to score
every film (3,883, of which 3,706 are rated) for each, in batches of 512.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from benchmark.contract import Features, Learner, Ratings, Support, World
from benchmark.data import store
from benchmark.running.methods import build, entry

BATCH = 512
METHODS = (
    ("EASE", "baselines.collaborative.ease:EASE", {}),
    ("iALS, 64 factors, 15 rounds", "baselines.collaborative.ials:IALS", {"factors": 64, "rounds": 15}),
    ("item-kNN", "baselines.collaborative.item_knn:ItemKNN", {}),
    ("user-kNN", "baselines.collaborative.user_knn:UserKNN", {}),
    ("SLIM", "baselines.collaborative.slim:SLIM", {}),
)


def everybody(data_dir: Path) -> World:
    """ML-1M with all of its users warm."""
    data = store.load("ml-1m", data_dir)
    user, item = data.user.astype(np.int64), data.item.astype(np.int64)
    order = np.lexsort((item, user))
    columns = (torch.from_numpy(np.array(column)[order]) for column in (user, item, data.rating, data.time))
    n_users, n_items = len(data.users), len(data.items)
    warm = torch.from_numpy(np.bincount(item, minlength=n_items) > 0)
    nothing = Features.empty(n_users), Features.empty(n_items)
    domain = torch.zeros(n_items, dtype=torch.int64)
    return World(
        Ratings(*columns), n_users, n_items, *nothing, warm, torch.ones_like(warm), domain, "ranking", (0, 1, 5), data.rating_range, 4.0
    )


def histories(world: World) -> list[Support]:
    """Every user with her own rows, in batches, each padded to its longest."""
    rows = world.ratings
    count = torch.bincount(rows.entity, minlength=world.n_entities)
    start, made = count.cumsum(0) - count, []
    for some in torch.argsort(count, stable=True).split(BATCH):
        place = torch.arange(int(count[some].max()))
        mask = place < count[some, None]
        row = (start[some, None] + place) * mask
        made.append(Support(some, rows.partner[row] * mask, rows.rating[row] * mask, rows.time[row] * mask, mask))
    return made


def seconds_to_score(learner: Learner, supports: list[Support]) -> tuple[float, float]:
    """Seconds to adapt all users, and to score every partner for them."""
    adapting = scoring = 0.0
    for support in supports:
        started = time.perf_counter()
        state = learner.adapt(support)
        between = time.perf_counter()
        learner.score(state)
        adapting, scoring = adapting + between - started, scoring + time.perf_counter() - between
    return adapting, scoring


def measure(data_dir: Path) -> list[list[str]]:
    """Rows of the table."""
    torch.set_num_threads(1)
    world = everybody(data_dir)
    supports = histories(world)
    table = []
    for title, target, fields in METHODS:
        started = time.perf_counter()
        learner = build(entry(target, fields)).fit(world, 0, lambda _: 0.0)
        fit_seconds = time.perf_counter() - started
        table.append([title, *(f"{value:.2f}" for value in (fit_seconds, *seconds_to_score(learner, supports)))])
    return table


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("COLDSTART_DATA", "."))
    print(tabulate(measure(folder), ["method", "fit s", "adapt all, s", "score all, s"], disable_numparse=True))
