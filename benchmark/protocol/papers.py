"""Cuts of old papers, so that their numbers can be compared; presets `papers/...`.

`folds`: five-fold cross-validation of rows, as Surprise does it (Nicolas Hug 2020, Surprise: A Python
library for recommender systems): seed i asks for the i-th fifth of all rows, and everybody else's rows
and her own other ones train and are shown. Nothing is left to validate on.

`melu-...`: the split that MeLU published (Hoyeop Lee et al. 2019) and later papers took over, with its
users and items each warm or cold. A task is a user with 13 to 100 rows in her state, the last 10 in a
seeded order are asked, the others shown. `melu-user`: cold users, warm items; `melu-warm`, `melu-item`
and `melu-both` the other three states. Only warm users' rows of warm items train, and of those the
rows asked for in this seed do not. The state's tasks are permuted once and cut into slices, each a
test set and the next one its validation set, so that the slices add up to the published state. Ten rows
of 668 users are few (another draw moves the MAE of a constant by .004), so the whole is drawn five times:
seed i asks slice i mod n in draw i div n, and a table counts each user once, by the mean over her draws.
"""

from __future__ import annotations

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.errors import ProtocolError
from benchmark.protocol.boards import Board
from benchmark.protocol.cuts import Chosen, Cutting, Ints, by_hash, chosen
from benchmark.protocol.seeds import derive_seed, permutation

FOLDS = 5
MELU_ROWS, MELU_QUERY = (13, 100), 10
MELU_STATES = {"melu-warm": (False, False), "melu-user": (True, False), "melu-item": (False, True), "melu-both": (True, True)}


def folds(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """Fold `seed_index` of the rows is asked for, of every entity that has a row in it."""
    if not 0 <= seed_index < FOLDS:
        raise ProtocolError(f"board '{board.name}' has folds 0 to {FOLDS - 1}, not {seed_index}; ask for fewer seeds")
    order = by_hash(board, dataset, 0)  # one partition for all folds
    fold = np.empty(len(dataset), dtype=np.int64)
    fold[np.argsort(order, kind="stable")] = np.arange(len(dataset)) * FOLDS // len(dataset)
    asked = fold == seed_index
    entity = np.unique(dataset.user[asked])
    shown = np.bincount(dataset.user[~asked], minlength=len(dataset.users))[entity]
    everyone, every = np.ones(len(dataset.users), dtype=bool), np.ones(len(dataset), dtype=bool)
    shown_first = (order >> np.uint64(1)) | (asked.astype(np.uint64) << np.uint64(63))
    test = chosen(dataset, entity, every, shown_first, shown)
    nobody = np.zeros(0, dtype=np.int64)
    return Cutting(~asked, everyone, Chosen(nobody, nobody, nobody, nobody), test, len(entity), len(dataset.users) - len(entity))


def melu(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """The tasks of one of MeLU's four states."""
    if dataset.cold_users is None or dataset.cold_items is None:
        raise ProtocolError(f"board '{board.name}' needs a data set that comes with MeLU's split, and '{dataset.name}' does not")
    cold_user, cold_item = MELU_STATES[board.cut]
    user_is_cold, item_is_cold = dataset.cold_users, dataset.cold_items
    state = (user_is_cold[dataset.user] == cold_user) & (item_is_cold[dataset.item] == cold_item)
    rows = np.bincount(dataset.user[state], minlength=len(dataset.users))
    able = np.flatnonzero((rows >= MELU_ROWS[0]) & (rows <= MELU_ROWS[1])).astype(np.int64)
    seeds = board.pin(dataset.name).seeds
    if not 0 <= seed_index < seeds or seeds % board.draws:
        raise ProtocolError(
            f"board '{board.name}' has seeds 0 to {seeds - 1}, {board.draws} draws of equally many slices, and {seed_index} was asked for"
        )
    n = seeds // board.draws
    slices = np.array_split(permutation(derive_seed(board.name, dataset.name, "cut"), able), n)
    order = by_hash(board, dataset, seed_index)
    test, validation = (
        chosen(dataset, one, state, order, rows[one] - MELU_QUERY) for one in (slices[seed_index % n], slices[(seed_index + 1) % n])
    )
    warm = ~user_is_cold[dataset.user] & ~item_is_cold[dataset.item]
    for one in (test, validation):
        warm[asked_rows(one)] = False
    return Cutting(warm, ~user_is_cold, validation, test, len(able), int((rows > 0).sum()) - len(able))


def asked_rows(tasks: Chosen) -> Ints:
    """The rows of the data set that are queries."""
    first = np.cumsum(tasks.n_rows) - tasks.n_rows
    place = np.arange(len(tasks.row)) - np.repeat(first, tasks.n_rows)
    return tasks.row[place >= np.repeat(tasks.n_shown, tasks.n_rows)]
