"""Tracks: from a data set to a world and its tasks.

`warm`: a known user, her training rows are her support. `user`: a new user, the partners are all items of the catalogue.
`item`: a new item, the partners are the users that train. `both`: a new user who is asked about new items.
`cross-domain`: a user new to the target domain, whose rows of the source are known. `drift`: a user in motion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmark.contract import Ratings, TensorRecord, World
from benchmark.data.dataset import Dataset, Tags
from benchmark.errors import ProtocolError
from benchmark.protocol import fingerprint as prints
from benchmark.protocol import papers, random_cuts, time_cuts
from benchmark.protocol.boards import ALL, MELU, Board
from benchmark.protocol.cuts import Chosen, Cutting, Flags, Ints, Rows, rows_of
from benchmark.protocol.features import features
from benchmark.protocol.labels import Labels, drawn
from benchmark.protocol.seeds import derive_seed
from benchmark.protocol.tasks import Tasks

ROWS_AT_ONCE = 4_000_000  # of a world, while it is put together: what is copied beside it stays small


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
    hashes: dict[str, str]  # of each role's rows
    labels: Labels  # not for methods
    frozen: Split | None = None  # track `drift`: the same test, with what was known before the first window


Cutter = Callable[[Board, Dataset, int], Cutting]
CUTS: dict[tuple[str, str], Cutter] = {
    ("user", "random"): random_cuts.random_rows,
    ("item", "random"): random_cuts.random_rows,
    ("both", "random"): random_cuts.new_partners,
    ("warm", "random"): random_cuts.held_out_rows,
    ("cross-domain", "random"): random_cuts.other_domain,
    ("user", "arrival"): time_cuts.arrival,
    ("drift", "windows"): time_cuts.windows,
    ("warm", "folds"): papers.folds,
    ("user", "mamo"): papers.some_rows,
    ("user", "tanp"): papers.some_rows,
    **{(state.removeprefix("melu-"), state): papers.melu for state in MELU},
}


def cut(board: Board, dataset: Dataset, seed_index: int) -> Split:
    """Cuts `dataset` as `board` says, for one seed; deterministic in its arguments.

    Raises ProtocolError where the data set is too small, or no test task is left.
    """
    board = board.on(dataset.name) if dataset.name in board.datasets else board
    if dataset.implicit and board.goal == "rating":
        raise ProtocolError(f"board '{board.name}' predicts ratings, and '{dataset.name}' has events without any")
    turned = dataset.turned() if (board.track, board.cut) == ("item", "random") else dataset
    parts = CUTS[board.track, board.cut](board, turned, seed_index)
    return _split(board, turned, parts, seed_index)


def _split(board: Board, dataset: Dataset, parts: Cutting, seed_index: int) -> Split:
    relevant_from = 1.0 if dataset.implicit else board.relevant_from
    timed = parts.support_order != "random"
    validation, test = (_tasks(board.goal, relevant_from, dataset, one, timed) for one in (parts.validation, parts.test))
    if not len(test) or (not len(validation) and len(parts.validation.entity)):
        raise ProtocolError(
            f"board '{board.name}' on '{dataset.name}', seed {seed_index}: {len(test)} test and {len(validation)} "
            f"validation tasks have a query rating of {relevant_from:g} or more; at least one of each is wanted"
        )
    frozen = None if parts.frozen is None else _split(board, dataset, parts.frozen, seed_index)
    labels = drawn(board, dataset, seed_index)
    print_, hashes = _fingerprint(board, dataset, relevant_from, parts, validation, test, frozen)
    return Split(
        board,
        dataset.name,
        dataset.sha256,
        dataset.synthetic,
        seed_index,
        derive_seed(board.name, dataset.name, seed_index),
        labels.of_partners(_world(board, dataset, parts, labels.entity, relevant_from)),
        labels.of_tasks(validation),
        labels.of_tasks(test),
        counts={
            "eligible": parts.n_eligible,
            "ineligible": parts.n_ineligible,
            "warm": int(parts.known.sum()),
            "warm_rows": int(parts.warm_rows.sum()),
            "validation": len(validation),
            "test": len(test),
            "dropped": parts.n_dropped,
            "test_without_relevant_query": len(parts.test.entity) - len(test),
            "catalogue": int(test.candidate.sum()),
            "repeats": dataset.repeats,
        },
        fingerprint=print_,
        hashes=hashes,
        labels=labels,
        frozen=frozen,
    )


def _tasks(goal: str, relevant_from: float, dataset: Dataset, given: Chosen, timed: bool) -> Tasks:
    """The tasks that `given` chooses; at goal `ranking`, those with a relevant query row."""
    if goal == "ranking":
        liked = dataset.rating[given.query.row] >= relevant_from
        given = given.of(np.bincount(given.query.task()[liked], minlength=len(given.entity)) > 0)
    pool, mask = _padded(dataset, given.pool, 1)
    source, shown = _padded(dataset, given.given or Rows.none(len(given.entity)), 0)
    everybody = np.ones(len(dataset.items), dtype=bool)
    return Tasks(
        torch.from_numpy(given.entity),
        pool["item"].long(),
        pool["rating"],
        # Under a random order, time would tell nothing true.
        pool["time"].long() if timed else torch.zeros(mask.shape, dtype=torch.int64),
        mask,
        source["item"].long(),
        source["rating"],
        shown,
        torch.from_numpy(everybody if given.candidate is None else given.candidate),
        torch.from_numpy(np.concatenate([[0], np.cumsum(given.query.n)])),
        torch.from_numpy(dataset.item[given.query.row]).long(),
        torch.from_numpy(dataset.rating[given.query.row]),
    )


def _padded(dataset: Dataset, rows: Rows, least: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Columns of `rows`, each [T, K] with zeros where it is padded, and the mask."""
    mask = np.arange(max(least, rows.n.max(initial=0))) < rows.n[:, None]
    found = {}
    for name in ("item", "rating", "time"):
        column = np.zeros(mask.shape, dtype=getattr(dataset, name).dtype)
        column[mask] = getattr(dataset, name)[rows.row]
        found[name] = torch.from_numpy(column)
    return found, torch.from_numpy(mask)


def published_entities(split: Split, tasks: Tasks) -> Ints:
    """Which entities of the data file `tasks` of a split are about: [T]; ids are drawn anew for each seed."""
    found: Ints = np.argsort(split.labels.entity)[tasks.entity.cpu().numpy()]
    return found


def _world(board: Board, dataset: Dataset, parts: Cutting, label: Ints, relevant_from: float) -> World:
    n_partners, entity_of = len(dataset.items), np.argsort(label)
    ratings = _ratings(dataset, parts.warm_rows, entity_of)
    warm = torch.zeros(n_partners, dtype=torch.bool)
    warm[ratings.partner] = True
    domain = np.zeros(n_partners, dtype=np.int64) if dataset.domain is None else np.array(dataset.domain)
    order: Any = parts.support_order
    return World(
        ratings=ratings,
        n_entities=len(dataset.users),
        n_partners=n_partners,
        entity_features=features(dataset.users, entity_of, parts.known),
        partner_features=features(dataset.items, np.arange(n_partners), warm.numpy(), _tags(board, dataset, parts), parts.known),
        partner_is_warm=warm,
        partner_is_ranked=torch.ones_like(warm) if parts.ranked is None else torch.from_numpy(parts.ranked),
        partner_domain=torch.from_numpy(domain),
        goal=board.goal,
        shots=_shots_to_come(board, parts),
        rating_range=dataset.rating_range,
        relevant_from=relevant_from,
        support_order=order,
    )


def _tags(board: Board, dataset: Dataset, parts: Cutting) -> Tags | None:
    """Tags, where no item is cold and no row comes from the future: what warm users say of a new item would tell what they think of it.

    What a known user says of an item that she will be asked about goes as well.
    """
    if board.track not in ("user", "warm") or board.cut == "arrival":
        return None
    tags, n, asked = dataset.tags, np.int64(len(dataset.items)), np.concatenate([parts.validation.query.row, parts.test.query.row])
    kept = ~np.isin(tags.user * n + tags.item, dataset.user[asked] * n + dataset.item[asked])
    return replace(tags, user=tags.user[kept], item=tags.item[kept], word=tags.word[kept])


def _ratings(dataset: Dataset, warm_rows: Flags, entity_of: Ints) -> Ratings:
    """The warm rows with new entity ids, sorted by them and then by partner; `entity_of` [n] is who each new id was."""
    n = int(warm_rows.sum())
    found = Ratings(*(torch.empty(n, dtype=kind) for kind in (torch.int64, torch.int64, torch.float32, torch.int64)))
    ends = np.cumsum(np.diff(dataset.offset)[entity_of])
    start, done = 0, 0
    while start < len(entity_of):
        stop = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + ROWS_AT_ONCE, side="right"))
        stop = max(start + 1, stop)
        rows = rows_of(dataset, entity_of[start:stop])
        rows = rows.where(warm_rows[rows.row])
        here = slice(done, done + len(rows.row))
        found.entity[here] = torch.from_numpy(rows.task() + start)
        for name, column in (("partner", dataset.item), ("rating", dataset.rating), ("time", dataset.time)):
            getattr(found, name)[here] = torch.from_numpy(column[rows.row])
        start, done = stop, here.stop
    return found


def _shots_to_come(board: Board, parts: Cutting) -> tuple[int, ...]:
    """The board's shots; where it shows all of a history, a few lengths, so that half of the histories can become training tasks."""
    if board.shots != (ALL,):
        return board.shots
    lengths = np.quantile(parts.test.pool.n, [0.1, 0.3, 0.5], method="nearest")
    return tuple(int(k) for k in np.unique(np.maximum(lengths, 1)))


def _fingerprint(
    board: Board, dataset: Dataset, relevant_from: float, parts: Cutting, validation: Tasks, test: Tasks, frozen: Split | None
) -> tuple[str, dict[str, str]]:
    """The split's hash, and one a role."""
    roles = prints.of_tasks(validation, prints.VALIDATION) + prints.of_tasks(test, prints.TEST)
    head = {"cut": board.cut, "shots": list(board.shots), "relevant_from": relevant_from}
    if frozen is not None:
        head["frozen"] = frozen.fingerprint
    return prints.fingerprint(dataset, head, parts.warm_rows, roles)
