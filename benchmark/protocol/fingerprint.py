"""The fingerprint of a split: one hash that says whether two labs hold the same one.

sha256 over the protocol version, the data set's own sha256, the cut, the shots and the canonical
bytes of (entity, role, partner, order), rows sorted. Only the hash is published, never a rating.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.errors import ProtocolError
from benchmark.protocol.cuts import Flags, Ints
from benchmark.protocol.seeds import PROTOCOL_VERSION
from benchmark.protocol.tasks import Tasks

WARM, VALIDATION, TEST = 0, 1, 3  # roles; a support has its tasks' number, a query the next one
NAMES = ("warm", "validation_support", "validation_query", "test_support", "test_query", "validation_candidates", "test_candidates")
ROWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Role:
    """Rows of one kind, sorted by entity, place and partner; grouped by task."""

    number: int
    entity: Ints  # [T]
    offset: Ints  # [T + 1]
    partner: Ints  # [M]
    place: Ints  # [M] in the support; 0 in a query; below 0 where it is shown at every k

    def rows(self, first: int, beyond: int) -> Ints:
        """(entity, role, partner, place) of the entities from `first` to before `beyond`: [m, 4]."""
        start, stop = np.searchsorted(self.entity, [first, beyond])
        here = slice(self.offset[start], self.offset[stop])
        entity = np.repeat(self.entity[start:stop], np.diff(self.offset[start : stop + 1]))
        return np.stack([entity, np.full(len(entity), self.number), self.partner[here], self.place[here]], axis=1)


def of_tasks(tasks: Tasks, number: int) -> list[Role]:
    """What tasks show, what they ask, and, where not everybody is, who is a candidate. Entities are those of the data set."""
    entity = tasks.entity.numpy()
    by_entity = np.argsort(entity, kind="stable")
    given, pool = tasks.given_mask.numpy()[by_entity], tasks.pool_mask.numpy()[by_entity]
    mask = np.concatenate([given[:, ::-1], pool], axis=1)
    partner = np.concatenate([tasks.given_partner.numpy()[:, ::-1], tasks.pool_partner.numpy()], axis=1)[by_entity]
    place = np.arange(-given.shape[1], pool.shape[1])
    n = np.diff(tasks.query_offset.numpy())
    asked = np.argsort(np.repeat(entity, n) * len(tasks.candidate) + tasks.query_partner.numpy())
    roles = [
        Role(number, entity[by_entity], _ends(mask.sum(1)), partner[mask], np.broadcast_to(place, mask.shape)[mask]),
        Role(number + 1, entity[by_entity], _ends(n[by_entity]), tasks.query_partner.numpy()[asked], np.zeros(len(asked), dtype=np.int64)),
    ]
    candidate = np.flatnonzero(tasks.candidate.numpy())
    if len(candidate) < len(tasks.candidate):
        everyone = np.array([-1])  # before all entities
        roles.append(Role(5 + (number == TEST), everyone, _ends(np.array([len(candidate)])), candidate, np.zeros(len(candidate), np.int64)))
    return roles


def _ends(n: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(n)]).astype(np.int64)


def fingerprint(dataset: Dataset, head: Mapping[str, Any], warm_rows: Flags, roles: Sequence[Role]) -> tuple[str, dict[str, str]]:
    """The hash of a split, and one of each role's rows; `warm_rows` [N] are the rows that train.

    Entities are taken in runs, so that no copy of all rows is made.
    """
    told = {"protocol": PROTOCOL_VERSION, "dataset": dataset.sha256, **head}
    whole = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    parts = {number: hashlib.sha256() for number in (WARM, *(role.number for role in roles))}
    for first, beyond in _runs(dataset):
        start, stop = dataset.offset[max(first, 0)], dataset.offset[beyond]
        warm = np.flatnonzero(warm_rows[start:stop]) + start
        zero = np.zeros(len(warm), dtype=np.int64)
        by_role = {WARM: np.stack([dataset.user[warm], zero + WARM, dataset.item[warm], zero], axis=1)}
        by_role |= {one.number: one.rows(first, beyond) for one in roles}
        for number, part in parts.items():
            part.update(_bytes(by_role[number]))
        rows = np.concatenate(list(by_role.values()))
        # Each role is sorted already, so a stable sort has little left to do.
        whole.update(_bytes(rows[np.argsort(rows[:, 0] * 8 + rows[:, 1], kind="stable")]))
    return whole.hexdigest(), {NAMES[number]: part.hexdigest() for number, part in parts.items()}


def _runs(dataset: Dataset) -> list[tuple[int, int]]:
    """Entities from .. to before, of at most ROWS_AT_ONCE rows or one entity; the first run holds -1, too."""
    edges, n = [-1], len(dataset.users)
    while edges[-1] < n:
        first = max(edges[-1], 0)
        beyond = int(np.searchsorted(dataset.offset, dataset.offset[first] + ROWS_AT_ONCE, side="right")) - 1
        edges.append(min(n, max(beyond, first + 1)))
    return list(itertools.pairwise(edges))


def _bytes(rows: Ints) -> bytes:
    return np.ascontiguousarray(rows, dtype="<i8").tobytes()


def check_fingerprint(board: str, dataset: str, seed_index: int, got: str, pinned: str) -> None:
    """Refuses a split that is not the published one."""
    if got != pinned:
        raise ProtocolError(
            f"board '{board}' on '{dataset}', seed {seed_index}: this split has fingerprint {got} and "
            f"the board pins {pinned}; numbers from it could not be compared, so nothing was run. "
            "Restore the board file and the data, or, for a new board, pin it with "
            f"`python -m benchmark doctor --pins {board}`"
        )
