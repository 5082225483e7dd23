"""The random cut of new users as a loop over a group-by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.data.dataset import Dataset
from benchmark.protocol.boards import Board
from benchmark.protocol.seeds import derive_seed, keyed_hash, permutation

QUERY_ROWS = 5
Tasks = dict[int, tuple[list[int], list[int]]]  # user -> the items of her pool, those of her query


def new_users(board: Board, dataset: Dataset, seed_index: int) -> tuple[pd.DataFrame, Tasks, Tasks]:
    """The warm rows, the validation tasks and the test tasks of a board for ranking, in the order of the slices."""
    seed = derive_seed(board.name, dataset.name, "support", seed_index)
    frame = pd.DataFrame({"user": dataset.user, "item": dataset.item, "rating": dataset.rating, "time": dataset.time})
    frame["order"] = keyed_hash(seed, dataset.user, dataset.item)
    most, by_user = max(board.shots), frame.groupby("user")
    eligible = np.array([user for user, n in by_user.size().items() if n >= most + QUERY_ROWS], dtype=np.int64)
    parts = np.array_split(permutation(derive_seed(board.name, dataset.name, "cut"), eligible), 5 if len(eligible) < 2_000 else 10)
    test, validation = parts[seed_index].tolist(), parts[(seed_index + 1) % len(parts)].tolist()
    cold, warm, found = {*test, *validation}, [], {}
    for user, rows in by_user:
        if user not in cold:
            warm.append(rows)
            continue
        rows = rows.sort_values("order")
        pool, query = rows.iloc[:most], rows.iloc[most:]
        if (query["rating"] >= board.relevant_from).any():
            found[user] = pool["item"].tolist(), query["item"].tolist()
    validation_tasks, test_tasks = ({user: found[user] for user in slice_ if user in found} for slice_ in (validation, test))
    return pd.concat(warm), validation_tasks, test_tasks
