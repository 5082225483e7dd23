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

`mamo`: twenty rows of every user who has as many, 15 of them shown and 5 asked (Manqing Dong et al. 2020, MAMO:
Memory-Augmented Meta-Optimization for Cold-start Recommendation). `tanp`: users of 30 to 200 rows, 20 of them shown
and the rest asked (Xixun Lin et al. 2021, Task-adaptive Neural Process for User Cold-Start Recommendation). Which
users are cold was not published with either, so the slices are drawn here.
"""

from __future__ import annotations

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.errors import ProtocolError
from benchmark.protocol.boards import Board
from benchmark.protocol.cuts import Chosen, Cutting, Ints, by_hash, n_slices, parted, rows_of, shuffled
from benchmark.protocol.seeds import derive_seed, permutation

FOLDS = 5
MELU_ROWS, MELU_QUERY = (13, 100), 10
SOME_ROWS = {"mamo": (20, 10**9, 20), "tanp": (30, 200, 200)}  # rows of a user: at least, at most, and how many of them are used
MELU_STATES = {"melu-warm": (False, False), "melu-user": (True, False), "melu-item": (False, True), "melu-both": (True, True)}


def folds(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """Fold `seed_index` of the rows is asked for, of every entity that has a row in it."""
    if not 0 <= seed_index < FOLDS:
        raise ProtocolError(f"board '{board.name}' has folds 0 to {FOLDS - 1}, not {seed_index}; ask for fewer seeds")
    order = by_hash(board, dataset, 0)(np.arange(len(dataset)))  # one partition for all folds
    fold = np.empty(len(dataset), dtype=np.int64)
    fold[np.argsort(order, kind="stable")] = np.arange(len(dataset)) * FOLDS // len(dataset)
    asked = fold == seed_index
    entity = np.unique(dataset.user[asked]).astype(np.int64)
    rows = rows_of(dataset, entity)
    rows = rows.sorted_by(order[rows.row] >> np.uint64(1))
    test = Chosen(entity, rows.where(~asked[rows.row]), rows.where(asked[rows.row]))
    everyone = np.ones(len(dataset.users), dtype=bool)
    return Cutting(~asked, everyone, Chosen.nobody(), test, len(entity), len(dataset.users) - len(entity))


def melu(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """The tasks of one of MeLU's four states."""
    if dataset.cold_users is None or dataset.cold_items is None:
        raise ProtocolError(f"board '{board.name}' needs a data set that comes with MeLU's split, and '{dataset.name}' does not")
    cold_user, cold_item = MELU_STATES[board.cut]
    user_is_cold, item_is_cold = dataset.cold_users, dataset.cold_items
    state = (user_is_cold[dataset.user] == cold_user) & (item_is_cold[dataset.item] == cold_item)
    rows = np.bincount(dataset.user[state], minlength=len(dataset.users))
    able = np.flatnonzero((rows >= MELU_ROWS[0]) & (rows <= MELU_ROWS[1])).astype(np.int64)
    seeds, draws = board.pin(dataset.name).seeds, board.draws(dataset.name)
    if not 0 <= seed_index < seeds or seeds % draws:
        raise ProtocolError(
            f"board '{board.name}' has seeds 0 to {seeds - 1}, {draws} draws of equally many slices, and {seed_index} was asked for"
        )
    n = seeds // draws
    slices = np.array_split(permutation(derive_seed(board.name, dataset.name, "cut"), able), n)
    order = by_hash(board, dataset, seed_index)

    def chosen(entity: Ints) -> Chosen:
        mine = rows_of(dataset, entity)
        mine = shuffled(mine.where(state[mine.row]), order)
        return Chosen(entity, *parted(mine, mine.n - MELU_QUERY))

    test, validation = (chosen(slices[one % n]) for one in (seed_index, seed_index + 1))
    warm = ~user_is_cold[dataset.user] & ~item_is_cold[dataset.item]
    for one in (test, validation):
        warm[one.query.row] = False
    return Cutting(warm, ~user_is_cold, validation, test, len(able), int((rows > 0).sum()) - len(able))


def some_rows(board: Board, dataset: Dataset, seed_index: int) -> Cutting:
    """`mamo` and `tanp`: new users whose number of rows lies in a range; the first in a seeded order are shown, the others asked."""
    least, most, kept = SOME_ROWS[board.cut]
    rows = np.diff(dataset.offset)
    able = np.flatnonzero((rows >= least) & (rows <= most)).astype(np.int64)
    n = n_slices(len(able))
    if not 0 <= seed_index < n or len(able) < n:
        raise ProtocolError(
            f"board '{board.name}' on '{dataset.name}' has {len(able)} users of {least} rows or more in {n} slices, and seed "
            f"{seed_index} was asked for; ask for fewer seeds, or take another data set"
        )
    slices = np.array_split(permutation(derive_seed(board.name, dataset.name, "cut"), able), n)
    order, known = by_hash(board, dataset, seed_index), np.ones(len(dataset.users), dtype=bool)

    def chosen(entity: Ints) -> Chosen:
        known[entity] = False
        mine = shuffled(rows_of(dataset, entity), order)
        mine = mine.where(mine.place() < kept)
        return Chosen(entity, *parted(mine, np.full(len(entity), max(board.shots), dtype=np.int64)))

    test, validation = (chosen(slices[one % n]) for one in (seed_index, seed_index + 1))
    return Cutting(known[dataset.user], known, validation, test, len(able), len(rows) - len(able))
