"""`plan` against examples solved by hand, and against a run."""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa
import pytest

from benchmark.cli import main
from benchmark.records.schema import RunFacts
from benchmark.records.store import CellStore
from benchmark.reporting.power import paired_sd, tasks_to_see
from benchmark.running.costs import Cost, Past, wall_seconds
from benchmark.running.forecast import Power
from benchmark.running.progress import duration

CHOSEN = ["--board", "user-rating", "--dataset", "ml-latest-small", "--seeds", "2"]
THREE = [part for name in ("bias", "item_mean", "user_mean") for part in ("--method", name)]

PAST = Past(
    [
        ("one", "data", "maml", 9.0),
        ("one", "data", "maml", 11.0),
        ("one", "data", "maml", 100.0),  # the machine was busy
        ("one", "data", "bias", 2.0),
        ("one", "data", "als", 4.0),
        ("one", "data", "chance", 0.5),
        ("two", "data", "bias", 6.0),
        ("two", "data", "als", 8.0),
        ("two", "data", "ease", 1.0),
        ("three", "data", "melu", 5.0),
        ("one", "other", "ease", 70.0),
    ]
)


@pytest.mark.parametrize(
    ("place", "cost"),
    [
        (("one", "data", "maml"), Cost(11.0, "itself")),  # the middle of 9, 11, 100
        (("two", "data", "maml"), Cost(11.0 * 2.5, "another board")),  # bias takes 3 times as long on two, als 2 times
        (("one", "data", "ease"), Cost(5 / 12, "another board")),  # a third as long, and half: 5/12; and not the 70 s of another data set
        (("one", "data", "melu"), Cost(5.0, "another board")),  # one and three share no method: no scale
        (("one", "data", "slim"), Cost(4.0, "the board's median")),  # of 2, 4, 11; chance is no method
        (("one", "data", "oracle"), Cost(0.5, "the board's median")),  # and methods say nothing of the oracle
        (("two", "data", "oracle"), Cost(None, "unknown")),
        (("one", "new", "bias"), Cost(None, "unknown")),
    ],
)
def test_costs_by_hand(place, cost):
    found = PAST.cost(*place)
    assert (found.seconds, found.source) == (pytest.approx(cost.seconds) if cost.seconds else None, cost.source)


def test_wall_time_is_that_of_workers_who_take_the_next_cell():
    assert wall_seconds([3, 1, 1, 4], 2) == 6  # 3 beside 1, 1; then 4 after the 1, 1
    assert wall_seconds([3, 1, 1, 4], 1) == 9
    assert wall_seconds([3, 1], 8) == 3
    assert wall_seconds([], 2) == 0


def test_tasks_to_see_a_difference_by_hand():
    assert tasks_to_see(0.1) == 3136  # 2.8^2 x .01 / .000025
    assert tasks_to_see(0.1, difference=0.05) == 32  # 31.36
    assert tasks_to_see(0.0) == 1


def test_the_deviation_of_paired_differences_by_hand():
    two = {"a": {0: np.array([1.0, 2.0]), 1: np.array([3.0])}, "b": {0: np.array([0.0, 0.0]), 1: np.array([0.0]), 2: np.array([9.0])}}
    assert paired_sd(two, 5) == pytest.approx(1.0)  # of 1, 2, 3
    level = {name: {0: np.array(values)} for name, values in {"a": [0.0, 0.0], "b": [0.0, 2.0], "c": [0.0, 6.0]}.items()}
    assert paired_sd(level, 1) == pytest.approx(4 / math.sqrt(2))  # the middle of 2, 4 and 6, over the root of 2
    draws = {"a": {0: np.array([1.0, 2.0]), 1: np.array([3.0, 8.0])}, "b": {seed: np.zeros(2) for seed in (0, 1)}}
    assert paired_sd(draws, 1) == pytest.approx(3 / math.sqrt(2))  # both seeds ask two tasks: 2 and 5
    assert paired_sd({"a": {0: np.zeros(9)}}, 5) is None
    assert paired_sd({"a": {0: np.zeros(9)}, "b": {1: np.zeros(9)}}, 5) is None


def test_seeds_wanted_by_hand():
    assert Power(500, 5, 1, 0.1).seeds_wanted == 32  # 3136 tasks at 100 a seed
    assert Power(500, 5, 5, 0.1).seeds_wanted is None, "all five seeds ask the same 500"
    assert Power(4000, 5, 5, 0.1).seeds_wanted == 5
    assert Power(None, 5, 1, 0.1).seeds_wanted is None
    assert (Power(500, 5, 1, None).tasks_wanted, Power(500, 5, 1, None).seeds_wanted) == (None, None)


def test_durations():
    assert [duration(seconds) for seconds in (0, 4.21, 59.96, 185, 7500)] == ["0 s", "4.2 s", "1 min 0 s", "3 min 5 s", "2 h 5 min"]


def _cells(text: str) -> list[str]:
    return re.split(r"\s{2,}", next(line for line in text.splitlines() if line.startswith("user-rating")).strip())


def test_before_during_and_after_a_run(own_cache, tmp_path, capsys):
    out = tmp_path / "out"
    command = [*CHOSEN, *THREE, "--out", str(out), "--workers", "1"]
    assert main(["plan", *command]) == 0
    text = capsys.readouterr().out
    assert _cells(text) == ["user-rating", "ml-latest-small", "10", "0", "10", "?", "547", "5", "—", "—", "—"]
    assert "10 cells: 0 done, 10 to run\n  10 unknown (?)" in text
    assert list(tmp_path.iterdir()) == [], "plan writes nothing"
    assert main(["run", *CHOSEN, *THREE[:4], "--no-speed", "--out", str(out), "--workers", "1"]) == 0
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(["plan", *command]) == 0
    text = capsys.readouterr().out
    board, dataset, *counts, cpu, tasks, seeds, sd, wanted, more = _cells(text)
    assert (board, dataset, counts, tasks, seeds) == ("user-rating", "ml-latest-small", ["10", "8", "2"], "547", "5")
    assert "2 estimated from the median method of the board" in text
    store = CellStore(out)
    areas = {}
    for method in ("bias", "item_mean"):
        values = []
        for seed in range(2):
            rows = store.rows(store.read(("user-rating", "ml-latest-small", method, seed)))
            values += np.asarray(rows["mae"]).reshape(6, -1)[1:].mean(0).tolist()
        areas[method] = np.asarray(values)
    expected = (areas["bias"] - areas["item_mean"]).std(ddof=1)
    assert float(sd) == pytest.approx(expected, abs=1e-4)
    assert int(wanted.replace(",", "")) == math.ceil(2.8**2 * expected**2 / 0.005**2)
    assert int(more) == math.ceil(int(wanted.replace(",", "")) * 5 / 547)
    took = [store.facts(record.key).seconds for record in store.records() if record.identity.method in ("bias", "item_mean")]
    assert cpu == duration(2 * np.median([np.median(took[:2]), np.median(took[2:])]))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before, "plan writes nothing"
    assert main(["plan", *CHOSEN, *THREE[:4], "--out", str(out)]) == 0
    assert "8 cells: 8 done, 0 to run\n" in capsys.readouterr().out


def test_failed_cells_and_lost_facts_say_nothing_of_costs(own_cache, tmp_path, capsys):
    from benchmark.running import plan

    made = plan.make(["user-rating"], ["ml-latest-small"], plan.known_methods(["bias"], []), 2, "cpu", None)
    store = CellStore(tmp_path)
    from tests.records.make import record

    for cell, status in zip([one for one in made.cells if not one.is_reference], ("failed", "unsupported"), strict=True):
        facts = RunFacts(seconds=70.0) if status == "failed" else None
        store.write(record(status=status).model_copy(update={"identity": cell.identity}), None, facts)
    assert main(["plan", *CHOSEN, "--method", "bias", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert _cells(text)[2:6] == ["6", "1", "5", "?"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say what to plan: --all, or --board B"),
        (["--board", "user-rankin"], "did you mean 'user-ranking'"),
        ([*CHOSEN, "--workers", "0"], "--workers got 0"),
        ([*CHOSEN[:4], "--seeds", "9"], "has 5 seeds, and 9 were asked for"),
    ],
)
def test_wrong_commands(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_a_later_suite_is_refused(own_cache, tmp_path, capsys):
    from tests.records.make import record

    store = CellStore(tmp_path)
    store.write(record(), pa.table({"task": [0, 1] * 3, "k": [0, 0, 1, 1, 5, 5], "mae": [0.5, 0.25] * 3}))
    path = store.path(record().key)
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    assert main(["plan", *CHOSEN, "--out", str(tmp_path)]) == 1
    assert "is a record of schema version 3" in capsys.readouterr().err
