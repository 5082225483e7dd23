"""One split, with its world, features and fingerprint, beside a loop over a group-by that gives its rows alone."""

from __future__ import annotations

import pytest

from benchmark.data import store
from benchmark.protocol import boards, tracks
from tests.reference import cutting


@pytest.mark.parametrize("name", ["ml-latest-small", pytest.param("ml-1m", marks=pytest.mark.data)])
def test_cut(beside, timed, request, name):
    folder = request.getfixturevalue("real_data") if name == "ml-1m" else None
    dataset, board = store.load(name, folder), boards.load("user-ranking").on(name)
    split, (warm, *tasks) = beside(
        f"cut of user-ranking, {name}",
        lambda: tracks.cut(board, dataset, 0),
        lambda: cutting.new_users(board, dataset, 0),
        reference="loop over pandas' group-by",
        rounds=7,
    )
    assert len(warm) == len(split.world.ratings)
    for found, wanted in zip((split.validation, split.test), tasks, strict=True):
        assert tracks.published_entities(split, found).tolist() == list(wanted)
        offset, query = found.query_offset.tolist(), found.query_partner.tolist()
        asked = [query[offset[t] : offset[t + 1]] for t in range(len(found))]
        pool = [own[mask].tolist() for own, mask in zip(found.pool_partner, found.pool_mask, strict=True)]
        assert list(zip(pool, asked, strict=True)) == list(wanted.values())
