"""Tracks: from a data set to a world and its tasks.

`user`: the entity is a new user, the partners are all items of the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.contract import Features, Ratings, TensorRecord, World
from benchmark.data.dataset import Dataset, Side, Tags
from benchmark.errors import ProtocolError
from benchmark.protocol import fingerprint as prints
from benchmark.protocol.boards import Board
from benchmark.protocol.cuts import random_cut
from benchmark.protocol.seeds import derive_seed, keyed_hash, permutation
from benchmark.protocol.tasks import Tasks

Ints = NDArray[np.int64]
TAG_USERS = 3  # a tag becomes a feature when this many warm users have given it
TAG_WORDS = 200  # at most this many, the most given first


@dataclass(frozen=True, eq=False)
class Split(TensorRecord):
    """One seed of a board on a data set: what may be known, and what will be asked."""

    board: Board
    dataset: str
    dataset_sha256: str
    synthetic: bool
    seed_index: int
    seed: int  # the method's luck
    world: World
    validation: Tasks
    test: Tasks
    counts: dict[str, int]
    fingerprint: str


def cut(board: Board, dataset: Dataset, seed_index: int) -> Split:
    """Cuts `dataset` as `board` says, for one seed; deterministic in its arguments.

    Raises ProtocolError where the data set is too small, or no test task is left.
    """
    entities, partners, entity, partner = dataset.users, dataset.items, dataset.user, dataset.item
    rows = np.bincount(entity, minlength=len(entities))
    parts = random_cut(board.name, dataset.name, rows, board.shots, seed_index)
    cold = np.zeros(len(entities), dtype=bool)
    cold[parts.validation] = cold[parts.test] = True
    warm_rows = ~cold[entity]
    order = keyed_hash(derive_seed(board.name, dataset.name, "support", seed_index), entity, partner)
    validation = _tasks(board, dataset, parts.validation, order)
    test = _tasks(board, dataset, parts.test, order)
    label = _labels(len(entities), derive_seed(board.name, dataset.name, "labels", seed_index))
    if not len(test) or not len(validation):
        raise ProtocolError(
            f"board '{board.name}' on '{dataset.name}', seed {seed_index}: {len(test)} test and {len(validation)} "
            f"validation tasks have a query rating of {board.relevant_from:g} or more; at least one of each is wanted"
        )
    return Split(
        board,
        dataset.name,
        dataset.sha256,
        dataset.synthetic,
        seed_index,
        derive_seed(board.name, dataset.name, seed_index),
        _world(board, dataset, warm_rows, ~cold, label),
        _relabelled(validation, label),
        _relabelled(test, label),
        counts={
            "eligible": parts.n_eligible,
            "ineligible": parts.n_ineligible,
            "warm": int((~cold).sum()),
            "warm_rows": int(warm_rows.sum()),
            "validation": len(validation),
            "test": len(test),
            "test_without_relevant_query": len(parts.test) - len(test),
            "catalogue": len(partners),
        },
        fingerprint=_fingerprint(board, dataset, warm_rows, validation, test),
    )


def _tasks(board: Board, dataset: Dataset, cold: Ints, order: NDArray[np.uint64]) -> Tasks:
    """The tasks of the `cold` entities in their order; rows within a task by the seeded `order`."""
    place = np.full(len(dataset.users), -1, dtype=np.int64)
    place[cold] = np.arange(len(cold))
    row = np.flatnonzero(place[dataset.user] >= 0)
    row = row[np.lexsort((order[row], place[dataset.user[row]]))]
    task = place[dataset.user[row]]
    rows = np.bincount(task, minlength=len(cold))
    rank = np.arange(len(row)) - np.repeat(np.cumsum(rows) - rows, rows)
    pool = max(board.shots)
    asked = rank >= pool
    keep = np.ones(len(cold), dtype=bool)
    if board.goal == "ranking":
        liked = asked & (dataset.rating[row] >= board.relevant_from)
        keep = np.bincount(task[liked], minlength=len(cold)) > 0
    shown, query = row[~asked & keep[task]], row[asked & keep[task]]
    partner, rating = torch.from_numpy(dataset.item[shown]), torch.from_numpy(dataset.rating[shown])
    return Tasks(
        torch.from_numpy(cold[keep]),
        partner.view(-1, pool),
        rating.view(-1, pool),
        torch.zeros_like(partner).view(-1, pool),  # a random order: time would tell nothing true
        torch.from_numpy(np.concatenate([[0], np.cumsum(rows[keep] - pool)])),
        torch.from_numpy(dataset.item[query]),
        torch.from_numpy(dataset.rating[query]),
    )


def _labels(n: int, seed: int) -> Ints:
    """A new id [n] for each entity of the file: there, ids rise with the day of arrival, and so would tell it."""
    label = np.empty(n, dtype=np.int64)
    label[permutation(seed, np.arange(n, dtype=np.int64))] = np.arange(n)
    return label


def _relabelled(tasks: Tasks, label: Ints) -> Tasks:
    return replace(tasks, entity=torch.from_numpy(label[tasks.entity.numpy()]))


def _world(board: Board, dataset: Dataset, warm_rows: NDArray[np.bool_], warm: NDArray[np.bool_], label: Ints) -> World:
    columns = [c[warm_rows] for c in (label[dataset.user], *map(np.asarray, (dataset.item, dataset.rating, dataset.time)))]
    by_entity = np.lexsort((columns[1], columns[0]))
    columns = [column[by_entity] for column in columns]
    partner_is_warm = np.zeros(len(dataset.items), dtype=bool)
    partner_is_warm[columns[1]] = True
    return World(
        ratings=Ratings(*map(torch.from_numpy, columns)),
        n_entities=len(dataset.users),
        n_partners=len(dataset.items),
        entity_features=_features(dataset.users, np.argsort(label)),
        partner_features=_features(dataset.items, np.arange(len(dataset.items)), _tag_flags(dataset.tags, len(dataset.items), warm)),
        partner_is_warm=torch.from_numpy(partner_is_warm),
        partner_domain=torch.zeros(len(dataset.items), dtype=torch.int64),
        goal=board.goal,
        shots=board.shots,
        rating_range=dataset.rating_range,
        relevant_from=board.relevant_from,
    )


def _features(side: Side, order: Ints, *more: NDArray[np.float32]) -> Features:
    multi_hot = np.concatenate([side.multi_hot, *more], axis=1)
    return Features(
        torch.from_numpy(np.asarray(side.categorical)[order]),
        torch.from_numpy(multi_hot[order]),
        torch.from_numpy(np.asarray(side.dense)[order]),
        side.categorical_sizes,
        tuple(side.text[i] for i in order) if side.text else (),
    )


def _tag_flags(tags: Tags, n_items: int, warm: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Which items warm users gave which tag [n_items, M]; a cold user's tags would tell who she is."""
    known = warm[tags.user]
    item, word = tags.item[known], tags.word[known]
    pairs = np.unique(np.stack([tags.user[known], word]), axis=1)
    givers = np.bincount(pairs[1], minlength=len(tags.words))
    chosen = np.lexsort((np.arange(len(givers)), -givers))[:TAG_WORDS]
    chosen = chosen[givers[chosen] >= TAG_USERS]
    column = np.full(len(tags.words), -1, dtype=np.int64)
    column[chosen] = np.arange(len(chosen))
    flags = np.zeros((n_items, len(chosen)), dtype=np.float32)
    used = column[word] >= 0
    flags[item[used], column[word[used]]] = 1.0
    return flags


def _fingerprint(board: Board, dataset: Dataset, warm_rows: NDArray[np.bool_], validation: Tasks, test: Tasks) -> str:
    parts = [(dataset.user[warm_rows], prints.WARM, dataset.item[warm_rows], np.zeros(int(warm_rows.sum()), np.int64))]
    for tasks, support, query in (
        (validation, prints.VALIDATION_SUPPORT, prints.VALIDATION_QUERY),
        (test, prints.TEST_SUPPORT, prints.TEST_QUERY),
    ):
        entity, pool = tasks.entity.numpy(), tasks.pool_partner.numpy()
        place = np.tile(np.arange(pool.shape[1]), len(pool))
        parts.append((np.repeat(entity, pool.shape[1]), support, pool.ravel(), place))
        asked = tasks.query_partner.numpy()
        parts.append((entity[tasks.query_task().numpy()], query, asked, np.zeros(len(asked), np.int64)))
    rows = np.concatenate([np.stack([e, np.full(len(e), role), p, place], axis=1) for e, role, p, place in parts])
    return prints.fingerprint(dataset.sha256, board.cut, board.shots, board.relevant_from, rows)
