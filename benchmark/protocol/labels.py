"""Ids that tell nothing: entities, and partners where cold ones are candidates, get new ids that are drawn for each seed.

In a file ids rise with the day of arrival, or with the order in which users met the items, and so would tell
either. Fingerprints are made of the published ids and do not depend on the labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmark.contract import Features, Ratings, World
from benchmark.data.dataset import Dataset
from benchmark.protocol.boards import Board
from benchmark.protocol.cuts import Ints
from benchmark.protocol.seeds import derive_seed, permutation
from benchmark.protocol.tasks import Tasks

COLD_PARTNERS = ("melu-item", "melu-both", "arrival", "windows")  # cuts, beside the track `both`, where candidates may be new


@dataclass(frozen=True, eq=False)
class Labels:
    """The new id of each published one."""

    entity: Ints  # [n_entities]
    partner: Ints | None  # [n_partners]; None where partners keep theirs

    def of_tasks(self, tasks: Tasks) -> Tasks:
        """`tasks` with the new ids."""
        found = replace(tasks, entity=torch.from_numpy(self.entity[tasks.entity.numpy()]))
        if self.partner is None:
            return found
        label = torch.from_numpy(self.partner)
        return replace(
            found,
            pool_partner=label[tasks.pool_partner] * tasks.pool_mask,
            given_partner=label[tasks.given_partner] * tasks.given_mask,
            query_partner=label[tasks.query_partner],
            candidate=tasks.candidate[label.argsort()],
        )

    def of_partners(self, world: World) -> World:
        """`world`, whose entities have their new ids, with those of the partners."""
        if self.partner is None:
            return world
        label, rows = torch.from_numpy(self.partner), world.ratings
        was, partner = label.argsort(), label[rows.partner]
        order = torch.from_numpy(np.lexsort((partner.numpy(), rows.entity.numpy())))
        return replace(
            world,
            ratings=Ratings(rows.entity[order], partner[order], rows.rating[order], rows.time[order]),
            partner_features=_turned(world.partner_features, was),
            partner_is_warm=world.partner_is_warm[was],
            partner_is_ranked=world.partner_is_ranked[was],
            partner_domain=world.partner_domain[was],
        )


def drawn(board: Board, dataset: Dataset, seed_index: int) -> Labels:
    """The labels of one seed of a board on a data set."""
    partners = board.track == "both" or board.cut in COLD_PARTNERS or not dataset.clock
    entity = _label(len(dataset.users), derive_seed(board.name, dataset.name, "labels", seed_index))
    partner = _label(len(dataset.items), derive_seed(board.name, dataset.name, "partner labels", seed_index)) if partners else None
    return Labels(entity, partner)


def _label(n: int, seed: int) -> Ints:
    label = np.empty(n, dtype=np.int64)
    label[permutation(seed, np.arange(n, dtype=np.int64))] = np.arange(n)
    return label


def _turned(features: Features, order: torch.Tensor) -> Features:
    text = tuple(features.text[i] for i in order.tolist()) if features.text else ()
    categorical, multi_hot, dense = features.categorical[order], features.multi_hot[order], features.dense[order]
    return Features(categorical, multi_hot, dense, features.categorical_sizes, text)
