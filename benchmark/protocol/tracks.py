"""Tracks: from a data set to a world and its tasks.

`user`: the entity is a new user, the partners are all items of the catalogue. `warm`: a known user, whose
training rows are her support.
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
from benchmark.protocol import papers
from benchmark.protocol.boards import ALL, Board
from benchmark.protocol.cuts import Chosen, Cutting, random_rows
from benchmark.protocol.seeds import derive_seed, permutation
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


CUTS = {"random": random_rows, "folds": papers.folds, **dict.fromkeys(papers.MELU_STATES, papers.melu)}


def cut(board: Board, dataset: Dataset, seed_index: int) -> Split:
    """Cuts `dataset` as `board` says, for one seed; deterministic in its arguments.

    Raises ProtocolError where the data set is too small, or no test task is left.
    """
    parts = CUTS[board.cut](board, dataset, seed_index)
    validation, test = (_tasks(board, dataset, one) for one in (parts.validation, parts.test))
    label = _labels(len(dataset.users), derive_seed(board.name, dataset.name, "labels", seed_index))
    if not len(test) or (not len(validation) and len(parts.validation.entity)):
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
        _world(board, dataset, parts, label),
        _relabelled(validation, label),
        _relabelled(test, label),
        counts={
            "eligible": parts.n_eligible,
            "ineligible": parts.n_ineligible,
            "warm": int(parts.known.sum()),
            "warm_rows": int(parts.warm_rows.sum()),
            "validation": len(validation),
            "test": len(test),
            "test_without_relevant_query": len(parts.test.entity) - len(test),
            "catalogue": len(dataset.items),
        },
        fingerprint=_fingerprint(board, dataset, parts.warm_rows, validation, test),
    )


def _tasks(board: Board, dataset: Dataset, given: Chosen) -> Tasks:
    """The tasks that `given` chooses; at goal `ranking`, those with a relevant query row."""
    n, row = len(given.entity), given.row
    task = np.repeat(np.arange(n), given.n_rows)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(given.n_rows) - given.n_rows, given.n_rows)
    asked = rank >= given.n_shown[task]
    keep = np.ones(n, dtype=bool)
    if board.goal == "ranking":
        liked = asked & (dataset.rating[row] >= board.relevant_from)
        keep = np.bincount(task[liked], minlength=n) > 0
    new_task = np.cumsum(keep) - 1
    shown, query = ~asked & keep[task], row[asked & keep[task]]
    n_shown = given.n_shown[keep]
    mask = np.arange(max(1, n_shown.max(initial=0))) < n_shown[:, None]
    place = (new_task[task[shown]], rank[shown])
    pool = [np.zeros(mask.shape, dtype=kind) for kind in (np.int64, np.float32)]
    pool[0][place], pool[1][place] = dataset.item[row[shown]], dataset.rating[row[shown]]
    partner, rating = map(torch.from_numpy, pool)
    return Tasks(
        torch.from_numpy(given.entity[keep]),
        partner,
        rating,
        torch.zeros_like(partner),  # a random order: time would tell nothing true
        torch.from_numpy(mask),
        torch.from_numpy(np.concatenate([[0], np.cumsum((given.n_rows - given.n_shown)[keep])])),
        torch.from_numpy(dataset.item[query]),
        torch.from_numpy(dataset.rating[query]),
    )


def published_entities(split: Split, tasks: Tasks) -> Ints:
    """Which entities of the data file `tasks` of a split are about: [T]; ids are drawn anew for each seed."""
    label = _labels(split.world.n_entities, derive_seed(split.board.name, split.dataset, "labels", split.seed_index))
    found: Ints = np.argsort(label)[tasks.entity.cpu().numpy()]
    return found


def _labels(n: int, seed: int) -> Ints:
    """A new id [n] for each entity of the file: there, ids rise with the day of arrival, and so would tell it."""
    label = np.empty(n, dtype=np.int64)
    label[permutation(seed, np.arange(n, dtype=np.int64))] = np.arange(n)
    return label


def _relabelled(tasks: Tasks, label: Ints) -> Tasks:
    return replace(tasks, entity=torch.from_numpy(label[tasks.entity.numpy()]))


def _world(board: Board, dataset: Dataset, parts: Cutting, label: Ints) -> World:
    columns = [c[parts.warm_rows] for c in (label[dataset.user], *map(np.asarray, (dataset.item, dataset.rating, dataset.time)))]
    by_entity = np.lexsort((columns[1], columns[0]))
    columns = [column[by_entity] for column in columns]
    partner_is_warm = np.zeros(len(dataset.items), dtype=bool)
    partner_is_warm[columns[1]] = True
    return World(
        ratings=Ratings(*map(torch.from_numpy, columns)),
        n_entities=len(dataset.users),
        n_partners=len(dataset.items),
        entity_features=_features(dataset.users, np.argsort(label)),
        partner_features=_features(dataset.items, np.arange(len(dataset.items)), _tag_flags(dataset.tags, len(dataset.items), parts.known)),
        partner_is_warm=torch.from_numpy(partner_is_warm),
        partner_domain=torch.zeros(len(dataset.items), dtype=torch.int64),
        goal=board.goal,
        shots=_shots_to_come(board, parts),
        rating_range=dataset.rating_range,
        relevant_from=board.relevant_from,
    )


def _shots_to_come(board: Board, parts: Cutting) -> tuple[int, ...]:
    """The board's shots; where it shows all of a history, a few lengths that stand for those to come."""
    if board.shots != (ALL,):
        return board.shots
    lengths = np.quantile(parts.test.n_shown, [0.1, 0.3, 0.5, 0.7, 0.9], method="nearest")
    return tuple(int(k) for k in np.unique(np.maximum(lengths, 1)))


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
        entity, mask = tasks.entity.numpy(), tasks.pool_mask.numpy()
        task, place = np.nonzero(mask)
        parts.append((entity[task], support, tasks.pool_partner.numpy()[mask], place))
        asked = tasks.query_partner.numpy()
        parts.append((entity[tasks.query_task().numpy()], query, asked, np.zeros(len(asked), np.int64)))
    rows = np.concatenate([np.stack([e, np.full(len(e), role), p, place], axis=1) for e, role, p, place in parts])
    return prints.fingerprint(dataset.sha256, board.cut, board.shots, board.relevant_from, rows)
