"""Records in, pages out, byte for byte; and what a page does with records that do not fit."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from benchmark.reporting.markdown import EXPORT_KEYS, export, page, plain, text
from benchmark.reporting.staleness import staleness
from benchmark.reporting.tables import tables
from tests.records.make import FACTS, record

GOLDEN = Path(__file__).parent.parent / "golden" / "user-rating.md"
LEVEL = {
    "bias": 0.72,
    "item_mean": 0.78,
    "item_knn": 0.72,
    "content_ridge": 0.73,
    "maml": 0.70,
    "chance": 0.9,
    "oracle": 0.0,
    "bad|`<b>name": 0.8,
}
TASKS = 60


def _rows(one):
    luck = np.random.default_rng(one.identity.seed_index)
    task = luck.normal(0, 0.05, TASKS)
    level = LEVEL.get(one.identity.method, 0.9)
    mine = np.random.default_rng(sum(map(ord, one.identity.method))).normal(0, 0.01, TASKS)
    curve = [level + (0 if k == 0 else -0.01 * k if level else 0) + (task + mine if level else 0 * task) for k in FACTS.shots]
    mae = np.concatenate(curve).tolist()
    return {
        "task": list(range(TASKS)) * 3,
        "k": np.repeat(FACTS.shots, TASKS).tolist(),
        "mae": mae,
        "rmse": [1.2 * x for x in mae],
        "ndcg@5-rated": [1 - x for x in mae],
    }


def _records():
    cells = [record(method, seed, TASKS) for method in LEVEL for seed in (0, 1)]
    cells.append(record("popularity", 0, TASKS, "unsupported", "it predicts no rating"))
    cells.append(record("popularity", 1, TASKS, "unsupported", "it predicts no rating"))
    cells.append(record("broken", 0, TASKS))
    cells.append(record("broken", 1, TASKS, "failed", "the loss is nan at step 25 with learning rate 1"))
    cells.append(record("half", 0, TASKS))
    return cells


def test_golden():
    got = page(tables(_records(), _rows))
    assert got == GOLDEN.read_text()


def test_the_order_of_records_changes_nothing():
    shuffled = _records()
    random.Random(0).shuffle(shuffled)
    assert page(tables(shuffled, _rows)) == page(tables(_records(), _rows))


def test_what_a_table_says():
    table = tables(_records(), _rows)[0]
    by_name = {row.method: row for row in [*table.rows, *table.references]}
    assert table.rows[0].method == "maml"
    assert by_name["maml"].rank == (1, 1)
    assert by_name["maml"].beats_trivial is True
    assert by_name["bad|`<b>name"].beats_trivial is False
    assert by_name["bias"].beats_trivial is None
    assert by_name["chance"].gain == 0.0
    assert by_name["oracle"].gain == 1.0
    assert by_name["maml"].area["mae"].mean == pytest.approx(np.mean([0.69, 0.65]), abs=0.02)
    assert by_name["popularity"].note == "n/a: it predicts no rating"
    assert by_name["broken"].note == "failed (seed 1, 1 of 2 cells): the loss is nan at step 25 with learning rate 1"
    assert by_name["half"].note == "incomplete: 1 of 2 seeds have run"
    assert all(by_name[name].curves is None for name in ("popularity", "broken", "half"))


def test_numbers_made_with_less_say_so():
    said = "out of device memory with 1,024 tasks at once: went on with 512"
    records = [one.model_copy(update={"notes": (said,)}) if one.key[2:] == ("maml", 1) else one for one in _records()]
    table = tables(records, _rows)[0]
    assert {row.method: row.note for row in table.rows}["maml"] == f"{said} (1 of 2 cells)"
    assert table.rows[0].curves == tables(_records(), _rows)[0].rows[0].curves
    for shown in (text(table), page([table])):
        assert said in shown


def test_text_and_page_hold_every_method():
    table = tables(_records(), _rows)[0]
    for shown in (text(table), page([table])):
        assert "k=5" in shown
        assert "failed (seed 1" in shown.replace("\\(", "(")


def test_export_has_a_row_a_number():
    rows = list(export(tables(_records(), _rows)[0]))
    assert all(tuple(row) == EXPORT_KEYS for row in rows)
    assert len(rows) == len(LEVEL) * (3 * 3 + 1)
    one = next(row for row in rows if row["method"] == "bias" and row["metric"] == "mae" and row["k"] == 5)
    assert one["low"] < one["mean"] < one["high"]
    assert (one["n_tasks"], one["n_seeds"]) == (2 * TASKS, 2)
    json.dumps(rows, allow_nan=False)


def test_a_stray_split_is_marked_in_its_row_alone():
    table = tables([*_records(), record("other", 0, TASKS, fingerprint="f" * 64)], _rows)[0]
    notes = {row.method: row.note for row in table.rows}
    assert notes["other"] == "stale: made on another split (ffffffffffff...); run it again"
    assert table.rows[0].curves == tables(_records(), _rows)[0].rows[0].curves


@pytest.mark.parametrize("change", [{"protocol": "2"}, {"board_sha256": "e" * 64}, {"dataset_sha256": "e" * 64}])
def test_versions_of_a_board_make_tables_of_their_own(change):
    made = tables([*_records(), record("other", 0, TASKS, **change)], _rows)
    assert [len(table.rows) for table in made if table.rows[0].method == "maml"] == [len(tables(_records(), _rows)[0].rows)]
    assert len(made) == 2
    shown = page(made)
    assert shown.count("## toy, board ") == 2


def test_one_board_that_is_at_odds_spares_the_others():
    other = record("bias", 0, TASKS, board="another")
    made = tables([*_records(), other, record("maml", 0, TASKS, board="another", fingerprint="f" * 64)], _rows)
    assert [table.board for table in made] == ["another", "user-rating"]
    assert page(made[1:]) == page(tables(_records(), _rows))


def test_nobody_is_ranked_where_seeds_are_missing():
    table = tables([one for one in _records() if one.identity.seed_index == 0], _rows)[0]
    assert not table.complete
    assert all(row.rank is None and row.beats_trivial is None for row in table.rows)
    assert "so nobody is ranked" in text(table)


def test_beats_trivial_waits_for_every_trivial_row():
    table = tables([one for one in _records() if one.identity.method != "item_knn"], _rows)[0]
    assert table.lacking == ("item_knn",)
    assert all(row.beats_trivial is None for row in table.rows)
    assert "`beats trivial` is not answered: item_knn has no numbers here." in text(table)


def test_another_harness_is_told():
    table = tables([*_records(), record("maml", 0, TASKS, harness_sha256="e" * 64)][1:], _rows)
    assert any("another version of the harness" in line for line in text(table[0]).splitlines())


def test_few_tasks_make_no_table_and_some_make_a_marked_one():
    assert "No table: fewer than 30 test tasks." in page(tables([record("bias", 0, 20)], _rows))
    low = tables([record(name, 0, TASKS) for name in ("bias", "maml")], _rows)[0]
    assert "Low power: fewer than 100 test tasks." in page([low])


@pytest.mark.parametrize("name", ["a|b", "`x`", "<script>alert(1)</script>", "[x](http://y)", "a\nb", "*b*", "\x1b[31m", "a\\|b"])
def test_names_are_shown_harmlessly(name):
    shown = plain(name)
    assert not set("|`<>\n\x1b") & set(shown)
    assert "](" not in shown


def test_a_task_that_is_drawn_several_times_counts_once_by_its_mean():
    """Four seeds, two draws of two slices: seeds 0 and 2 ask the same tasks, and so do 1 and 3."""
    facts = FACTS.model_copy(update={"n_seeds": 4, "draws": 2})
    cells = [record(method, seed, TASKS).model_copy(update={"board": facts}) for method in ("bias", "maml", "oracle") for seed in range(4)]
    (table,) = tables(cells, _rows)
    assert table.n_tasks == 2 * TASKS
    assert "120 test tasks, each asked 2 times over 4 seeds" in text(table)
    (part,) = tables([cell for cell in cells if cell.identity.seed_index < 2], _rows)
    assert "120 test tasks over 2 of 4 seeds" in text(part), "once so far"
    bias = next(row for row in table.rows if row.method == "bias")
    drawn = [np.asarray(_rows(record("bias", seed, TASKS))["mae"]).reshape(3, TASKS)[1:].mean(0) for seed in range(4)]
    once = np.concatenate([(drawn[0] + drawn[2]) / 2, (drawn[1] + drawn[3]) / 2])
    assert bias.area["mae"].mean == pytest.approx(once.mean())
    both = [np.concatenate([drawn[0], drawn[1]]).mean(), np.concatenate([drawn[2], drawn[3]]).mean()]
    assert bias.seed_spread == pytest.approx(np.std(both, ddof=1)), "between draws of the same tasks, not between their slices"
    width = bias.area["mae"].high - bias.area["mae"].low
    assert width == pytest.approx(2 * 1.96 * once.std() / len(once) ** 0.5, rel=0.15), "as wide as for so many tasks, not for twice as many"


def test_what_a_paper_says_stands_beside_what_was_reached():
    facts = FACTS.model_copy(update={"published": {"bias": {"mae": 0.732}, "gone": {"mae": 0.5}}, "called": {"bias": "Baseline|"}})
    (table,) = tables([one.model_copy(update={"board": facts}) for one in _records()], _rows)
    area = next(row for row in table.rows if row.method == "bias").area["mae"].mean
    shown = next(line for line in page([table]).splitlines() if "Baseline" in line)
    assert "0.7320" in shown
    assert f"{area - 0.732:+.4f}" in shown
    assert shown.count("|") == 7, "a bar in a name does not break the table"
    assert "0.5000" in page([table])
    assert "published" not in page(tables(_records(), _rows))


def test_a_row_that_was_tuned_says_in_how_many_trials():
    tuned = [one.model_copy(update={"tuning": {"trials": 20}}) if one.identity.method == "maml" else one for one in _records()]
    (table,) = tables(tuned, _rows)
    lines = page([table]).splitlines()
    assert next(line for line in lines if "maml" in line).rstrip(" |").endswith("20")
    assert next(line for line in lines if "| item" in line).rstrip(" |").endswith("\u2014")
    assert any("a dash stands for a row with its defaults" in line for line in lines)


def _drifting(n_tasks: int = TASKS):
    """Three draws of four windows; frozen, `maml` loses .02 more in each window, and `bias` nothing."""
    facts = FACTS.model_copy(
        update={"track": "drift", "cut": "windows", "n_seeds": 12, "draws": 3, "metrics": (*FACTS.metrics, "frozen-mae")}
    )
    cells = [record(name, seed, n_tasks).model_copy(update={"board": facts}) for name in ("bias", "maml", "oracle") for seed in range(12)]

    def rows(one):
        found = {name: column for name, column in _rows(one).items() if name != "task"}
        lost = 0.02 * (one.identity.seed_index % 4) if one.identity.method == "maml" else 0.0
        found = {name: np.asarray(column).reshape(3, TASKS)[:, :n_tasks].ravel().tolist() for name, column in found.items()}
        return {**found, "task": list(range(n_tasks)) * 3, "frozen-mae": [mae + lost for mae in found["mae"]]}

    return tables(cells, rows)


def test_staleness_is_what_refits_gain_after_the_first_window():
    (table,) = _drifting()
    assert table.n_tasks == 4 * TASKS, "seeds that ask the same window are draws of one set of tasks"
    maml, bias = (next(row.staleness for row in table.rows if row.method == name) for name in ("maml", "bias"))
    assert maml.n_tasks == (TASKS,) * 4
    assert [frozen - refitted for frozen, refitted in zip(maml.frozen, maml.refitted, strict=True)] == pytest.approx([0, 0.02, 0.04, 0.06])
    assert maml.gain.mean == pytest.approx(0.04), "lower is better, so less error is a gain"
    assert maml.gain.low < 0.04 < maml.gain.high or maml.gain.low == pytest.approx(0.04)
    assert bias.gain.mean == bias.gain.high == 0.0
    shown = page([table])
    line = next(line for line in shown.splitlines() if line.startswith("| maml") and "/" in line)
    assert line.count(" / ") == 4
    assert "0.0400" in line
    assert "window 4 (60 tasks)" in shown
    assert "refits gain" in text(table)
    assert "refits gain" not in page(tables(_records(), _rows))


def test_the_gain_of_refits_has_the_sign_of_the_metric():
    window, better, worse = np.repeat([0, 1], 40), np.full((80, 2), 0.5), np.full((80, 2), 0.4)
    for metric, higher, wanted in (("ndcg@10", True, 0.1), ("mae", False, -0.1)):
        facts = FACTS.model_copy(update={"metric": metric, "higher_is_better": higher})
        found = staleness(facts, {metric: better, f"frozen-{metric}": worse}, [1], window)
        assert found.gain.mean == pytest.approx(wanted)


def test_a_window_with_few_tasks_is_low_power_and_with_fewer_no_table():
    (table,) = _drifting()
    assert table.low_power, "240 tasks, but 60 a window"
    (table,) = _drifting(20)
    assert table.n_tasks == 80
    assert "No table: fewer than 30 test tasks" in page([table])


def test_a_cut_with_limits_of_its_own_claims_no_other():
    facts = FACTS.model_copy(update={"cut": "tanp", "shots": (20,)})
    cells = [record(name, seed, TASKS).model_copy(update={"board": facts}) for name in ("bias", "maml") for seed in (0, 1)]

    def rows(one):
        return {name: column[:TASKS] for name, column in _rows(one).items()} | {"k": [20] * TASKS}

    shown = text(tables(cells, rows)[0])
    assert "entities that the cut allows" in shown
    assert "25 rows or more" not in shown
