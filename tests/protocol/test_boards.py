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
    papers = [f"papers/{name}" for name in ("mamo", "melu", "melu-both", "melu-item", "melu-warm", "surprise", "tanp")]
    both_goals = [f"{name}-{goal}" for name in ("both", "drift", "item", "user", "user-arrival", "warm") for goal in ("ranking", "rating")]
    assert sorted(boards.board_names()) == sorted([*papers, *both_goals, "cross-domain-ranking"])
    for name in boards.board_names():
        board = boards.load(name)
        assert board.name == name
        for dataset, pin in board.datasets.items():
            assert pin.seeds >= 3
            assert len(pin.fingerprints) == (0 if dataset in ("ml-25m", "ml-32m") else pin.seeds)
            assert board.metric in board.metrics
            assert pin.seeds % board.draws(dataset) == 0
            assert board.on(dataset).shots == (pin.shots or board.shots)


def test_shots_of_a_data_set_make_it_another_board():
    board = boards.load("user-ranking")
    assert board.on("ml-1m") == board
    short = board.on("amazon-2014-beauty-5")
    assert short.shots == (0, 1, 2, 3)
    assert short.sha256 != board.sha256
    assert (boards.load("user-arrival-rating").draws("ml-1m"), boards.load("drift-rating").draws("synthetic-drift")) == (3, 3)
    assert (boards.load("user-rating").draws("ml-1m"), boards.load("papers/melu").draws("ml-1m-melu")) == (1, 5)


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
        ({"datasets": {"ml-1m": {"seeds": 3, "fingerprints": ["a" * 64]}}}, "pins 1 fingerprints for 3 seeds"),
        ({"datasets": {"ml-1m": {"seeds": 1, "fingerprints": ["A" * 64]}}}, "no fingerprint; wanted 64"),
        ({"name": "../../evil"}, "may not be called '../../evil'"),
        ({"name": "Mine"}, "may not be called 'Mine'"),
        ({"relevant_from": float("nan")}, "a value of another type"),
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
    for content in (b"name = ", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read as TOML"):
            boards.load(str(tmp_path / "bad.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read as TOML"):
        boards.load(str(tmp_path / "folder.toml"))
    (tmp_path / "user-ranking.toml").write_bytes((boards.boards_folder() / "user-ranking.toml").read_bytes())
    with pytest.raises(UsageError, match="which is a board of the suite"):
        boards.load(str(tmp_path / "user-ranking.toml"))
    with pytest.raises(UsageError, match="no data set on board 'user-ranking' is called 'ml-2m'"):
        boards.load("user-ranking").pin("ml-2m")


@pytest.mark.parametrize(
    "change", [{"goal": "rating", "metric": "mae"}, {"shots": [0, 1]}, {"relevant_from": 3.5}, {"metric": "recall@10"}, {"name": "other"}]
)
def test_whatever_decides_a_number_changes_the_boards_hash(change):
    assert boards.parse(_table(**change), "x.toml").sha256 != boards.load("user-ranking").sha256


def test_words_the_count_of_seeds_and_what_is_timed_do_not():
    other = _table(title="Other", description="Words.", datasets={}, speed=False)
    assert boards.parse(other, "x.toml").sha256 == boards.load("user-ranking").sha256


def test_every_field_of_a_board_either_decides_or_is_known_not_to():
    assert set(boards.Board.__dataclass_fields__) == {*boards.DECIDES, "title", "description", "datasets", "rows", "speed"}
