"""What `tox -e bench` says of two runs."""

from __future__ import annotations

import pytest

from tests.benchmarks.comparison import NOTHING_SAVED, Timing, last_saved, table, verdict, written

HERE = {"node": "today", "machine": "x86_64", "cpu": {"brand_raw": "A", "count": 2}}
NOW = {"a": Timing("fit", 0.1, "loop", 0.79), "b": Timing("load", 2.0, "pandas", 1.0), "new": Timing("cut", 1e-5, "group-by", 1.0)}


def run(machine, **ratios):
    return {"machine_info": machine, "benchmarks": [{"fullname": name, "extra_info": {"ratio": r}} for name, r in ratios.items()]}


def test_a_fall_of_more_than_a_fifth_is_a_regression():
    lines = verdict(NOW, {"a": 10.0, "b": 0.5})
    assert len(lines) == 1
    assert lines[0].startswith("REGRESSION fit, against loop: 10.0x was saved, now 7.9x (-21%)")
    assert verdict(NOW, {"a": 9.8, "b": 0.1}) == ["no ratio fell by more than 20% since the saved run (2 compared)"]


def test_a_load_that_hits_both_is_none():
    slowed = {name: Timing(one.title, 3 * one.seconds, one.reference, 3 * one.reference_seconds) for name, one in NOW.items()}
    assert "REGRESSION" not in "".join(verdict(slowed, {name: one.ratio for name, one in NOW.items()}))


@pytest.mark.parametrize("saved", [{}, {"gone": 3.0}])
def test_nothing_to_compare_with(saved):
    assert verdict(NOW, saved) == [NOTHING_SAVED]


def test_only_this_machine_counts_and_the_last_run_that_measured_it():
    other = {**HERE, "cpu": {"brand_raw": "B", "count": 2}}
    renamed = {**HERE, "node": "yesterday"}
    runs = [run(HERE, a=1.0, b=2.0), run(renamed, a=3.0), run(other, a=9.0, b=9.0)]
    assert last_saved(runs, HERE) == {"a": 3.0, "b": 2.0}
    assert last_saved([{"machine_info": HERE, "benchmarks": [{"fullname": "a"}]}], HERE) == {}


def test_the_table_has_a_line_each_and_dashes_for_what_is_new():
    lines = table(NOW, {"a": 10.0, "b": 0.4}).splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["fit", "load", "cut"]
    assert lines[0].split()[-3:] == ["7.9x", "10.0x", "-21%"]
    assert lines[1].split()[-3:] == ["0.50x", "0.40x", "+25%"]
    assert lines[2].split()[-2:] == ["-", "-"]


@pytest.mark.parametrize(("seconds", "text"), [(12.345, "12.3 s"), (0.0123, "12.3 ms"), (4.56e-6, "4.56 us"), (1234.0, "1234 s")])
def test_times_are_written_with_three_digits(seconds, text):
    assert written(seconds) == text
