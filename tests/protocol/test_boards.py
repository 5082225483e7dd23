"""Board files: what they must say, and how they are refused."""

from __future__ import annotations

import tomllib

import pytest

from benchmark.errors import UsageError
from benchmark.protocol import boards


def _table(**changes):
    table = tomllib.loads((boards.boards_folder() / "user-ranking.toml").read_text())
    table.update(changes)
    return {key: value for key, value in table.items() if value is not None}


def test_every_board_file_is_read_and_pinned():
    assert boards.board_names() == ["user-ranking", "user-rating"]
    for name in boards.board_names():
        board = boards.load(name)
        assert board.name == name
        assert all(len(pin.fingerprints) == pin.seeds >= 3 for pin in board.datasets.values())


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"metrik": "ndcg@10"}, "no field of a board is called 'metrik'.*did you mean 'metric'"),
        ({"metric": None}, "has no field 'metric'"),
        ({"metric": "mae"}, "no metric is called 'mae'"),
        ({"goal": "rank"}, "no goal is called 'rank'"),
        ({"shots": [0, 5, 1]}, "distinct rising counts"),
        ({"shots": [0]}, "distinct rising counts"),
        ({"shots": [0, -1]}, "distinct rising counts"),
        ({"shots": "all"}, "a value of another type"),
        ({"relevant_from": True}, "a value of another type"),
        ({"datasets": {"ml-1m": {"seeds": 3, "fingerprints": ["a"]}}}, "pins 1 fingerprints for 3 seeds"),
        ({"datasets": {"ml-1m": {"seed": 3}}}, "wanted the fields seeds and fingerprints"),
    ],
)
def test_a_wrong_board_is_one_sentence(changes, wanted):
    with pytest.raises(UsageError, match=wanted):
        boards.parse(_table(**changes), "x.toml")


def test_unknown_names(tmp_path):
    with pytest.raises(UsageError, match="no board is called 'user-rankin'; known: .*did you mean 'user-ranking'"):
        boards.load("user-rankin")
    with pytest.raises(UsageError, match="there is no board file"):
        boards.load(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(UsageError, match="is not TOML"):
        boards.load(str(tmp_path / "bad.toml"))
    with pytest.raises(UsageError, match="no data set on board 'user-ranking' is called 'ml-2m'"):
        boards.load("user-ranking").pin("ml-2m")
