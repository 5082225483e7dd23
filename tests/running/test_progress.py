"""What is shown while cells run."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pytest

from benchmark.records.store import label
from benchmark.running import plan, progress
from benchmark.running.executors.local import Local
from benchmark.running.executors.logs import captured, log_path
from benchmark.running.executors.outcome import Outcome
from benchmark.running.plan import Cell
from tests.hostile import acts
from tests.running.test_run import HOSTILE, _methods, _run


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """chance, oracle, bias, random; two seeds."""
    return plan.make(["user-rating"], ["ml-latest-small"], plan.known_methods(["bias", "random"], []), 2, "cpu", None).cells


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def _made(style, cells, stream, out=Path("out"), total=None, workers=2):
    return progress.progress(style, cells, len(cells) if total is None else total, "cells", workers, stream, out)


def _screen(text: str) -> list[str]:
    """What a terminal shows after these bytes: lines, up and wipe."""
    lines: list[str] = []
    for part in re.split(r"(\x1b\[\d+F\x1b\[J)", text):
        if match := re.fullmatch(r"\x1b\[(\d+)F\x1b\[J", part):
            del lines[len(lines) - int(match[1]) :]
        else:
            assert "\x1b" not in part
            assert part == "" or part.endswith("\n")
            lines += part.splitlines()
    return lines


def test_a_pipe_gets_a_line_a_cell(cells):
    stream = io.StringIO()
    shown = _made("auto", cells[:2], stream, total=5)
    for outcome in (
        Outcome(cells[0], "running"),
        Outcome(cells[0], "said", "chance waits for process 7 on there"),
        Outcome(cells[0], "again", "its worker was killed by SIGKILL"),
        Outcome(cells[0], "running"),
        Outcome(cells[0], "ok", seconds=30.0),
        Outcome(cells[1], "running"),
        Outcome(cells[1], "failed", "a reason", seconds=1.0),
    ):
        shown.show(outcome)
    shown.end()
    names = [label(cell.key) for cell in cells]
    assert stream.getvalue().splitlines() == [
        "5 cells: 3 done before, 2 to run",
        "chance waits for process 7 on there",
        f"{names[0]} is tried again in a fresh worker: its worker was killed by SIGKILL",
        f"[4/5] {names[0]} ok in 30.0 s, about 30 s left",
        f"[5/5] {names[1]} failed in 1.0 s",
    ]
    assert [one.status for one in shown.ended] == ["ok", "failed"]


def test_a_terminal_gets_a_row_a_worker(cells, monkeypatch):
    clock, stream = Clock(monkeypatch), Terminal()
    shown = _made("auto", cells[:4], stream)
    names = [label(cell.key) for cell in cells]
    shown.show(Outcome(cells[0], "running"))
    clock.now += 65
    shown.show(Outcome(cells[1], "running"))
    clock.now += 1
    shown.show(Outcome(cells[1], "failed", seconds=1.0))
    clock.now += 54
    shown.show(Outcome(cells[2], "running"))
    assert _screen(stream.getvalue()) == [
        "4 cells: 0 done before, 4 to run",
        "1/4 cells, 1 failed, 0.5 a minute, about 1 s left",
        f"  1  {names[0]}  2 min 0 s",
        f"  2  {names[2]}  0 s",
    ]
    shown.show(Outcome(cells[0], "again", "its worker was killed by SIGKILL"))
    assert _screen(stream.getvalue())[1:] == [
        f"{names[0]} is tried again in a fresh worker: its worker was killed by SIGKILL",
        "1/4 cells, 1 failed, 0.5 a minute, about 2 s left",
        "  1  idle",
        f"  2  {names[2]}  0 s",
    ]
    shown.end()
    assert len(_screen(stream.getvalue())) == 2, "the table is gone, what was said stays"


def test_a_table_fits_its_terminal(cells, monkeypatch):
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((20, 5)))
    stream = Terminal()
    shown = _made("auto", cells, stream, workers=8)
    for cell in cells:
        shown.show(Outcome(cell, "running"))
    screen = _screen(stream.getvalue())[1:]
    shown.end()
    assert len(screen) == 4
    assert all(len(line) < 20 for line in screen)
    assert screen[-1] == "     and 6 more wor"


def test_a_dumb_terminal_gets_lines(cells, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(_made("auto", cells, Terminal()), progress.Lines)


def test_the_time_left_is_that_of_the_same_method(cells, monkeypatch):
    clock = Clock(monkeypatch)
    shown = _made("quiet", cells, io.StringIO(), workers=2)
    assert shown.seconds_left() is None
    chance, oracle, bias, _ = (0, 1, 2, 3)
    for place, seconds in ((chance, 1.0), (oracle, 3.0), (bias, 101.0)):
        shown.show(Outcome(cells[place], "running"))
        shown.show(Outcome(cells[place], "ok", seconds=seconds))
    # left: random twice at the mean of all, 35; chance, oracle and bias of the second seed as those of the first
    assert shown.seconds_left() == pytest.approx((2 * 35 + 1 + 3 + 101) / 2)
    shown.show(Outcome(cells[6], "running"))
    clock.now += 51
    assert shown.seconds_left() == pytest.approx((2 * 35 + 1 + 3 + 50) / 2)
    clock.now += 1000
    assert shown.seconds_left() == pytest.approx((2 * 35 + 1 + 3 + 0) / 2), "a cell past its mean is about to end"


def test_quiet_shows_nothing(cells):
    stream = Terminal()
    shown = _made("quiet", cells, stream)
    shown.show(Outcome(cells[0], "running"))
    shown.show(Outcome(cells[0], "lost", "a reason"))
    shown.end()
    assert stream.getvalue() == ""
    assert [one.is_bad for one in shown.ended] == [True]


def test_events_are_json_objects(cells, tmp_path):
    stream = io.StringIO()
    shown = _made("json", cells[:2], stream, out=tmp_path, total=4)
    log = log_path(tmp_path, cells[1].key)
    log.parent.mkdir(parents=True)
    log.write_text("x")
    for outcome in (
        Outcome(cells[0], "running"),
        Outcome(cells[1], "running"),
        Outcome(cells[1], "failed", 'a "reason"', seconds=1.0),
        Outcome(cells[0], "again", "killed"),
        Outcome(cells[0], "running"),
        Outcome(cells[0], "said", "words"),
        Outcome(cells[0], "ok", seconds=2.0),
    ):
        shown.show(outcome)
    shown.end()
    first, second = ({"cell": label(cell.key), "worker": n} for n, cell in enumerate(cells[:2], 1))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert 0 <= told[-1].pop("seconds") < 60
    left = told[3].pop("seconds_left")
    assert 0 < left <= 1
    assert told == [
        {"event": "start", "what": "cells", "total": 4, "done": 2, "todo": 2, "workers": 2},
        {"event": "cell_started", **first},
        {"event": "cell_started", **second},
        {"event": "cell_ended", **second, "status": "failed", "reason": 'a "reason"', "seconds": 1.0, "log": str(log)},
        {"event": "cell_again", **first, "reason": "killed"},
        {"event": "cell_started", **first},
        {"event": "cell_said", **first, "reason": "words"},
        {"event": "cell_ended", **first, "status": "ok", "reason": "", "seconds": 2.0, "seconds_left": 0.0},
        {"event": "end", "what": "cells", "ended": 2, "failed": 1},
    ]


def test_quiet_and_json_are_two_answers_to_one_question(cache, tmp_path):
    done = _run(cache, tmp_path, *_methods("bias"), "--quiet", "--json", code=2)
    assert "not allowed with argument" in done.stderr


def test_every_line_of_a_run_with_events_is_json(cache, tmp_path):
    done = _run(cache, tmp_path, *_methods("bias", f"{HOSTILE}:Raises"), "--seeds", "1", "--workers", "1", "--json", code=1)
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [one["event"] for one in told].count("cell_ended") == 8
    ended = {one["cell"]: one for one in told if one["event"] == "cell_ended"}[f"user-rating/ml-latest-small/{HOSTILE}:Raises/seed-0"]
    assert (ended["status"], ended["reason"]) == ("failed", "RuntimeError: a matrix is singular")
    assert "Traceback" in Path(ended["log"]).read_text()
    assert [one["event"] for one in told[-3:]] == ["end", "error", "time"]
    assert "user-rating on ml-latest-small" in done.stdout, "tables are as ever"
    assert len(list(tmp_path.rglob("*.log"))) == 2, "logs of what wrote nothing are gone"
    quiet = _run(cache, tmp_path, *_methods("bias", f"{HOSTILE}:Raises"), "--seeds", "1", "--workers", "1", "--quiet", code=1)
    assert len(quiet.stderr.splitlines()) == 1
    assert quiet.stderr.startswith("user-ranking/ml-latest-small/")
    assert quiet.stdout == done.stdout


def test_a_log_holds_all_that_a_cell_wrote(cells, tmp_path, capfd):
    list(Local(1, "cpu").run(cells[:4], tmp_path, acts.writes))
    (log,) = tmp_path.rglob("*.log")
    assert log == log_path(tmp_path, cells[2].key, "writes")
    said = log.read_text()
    for words in ("from Python", "from C", "RuntimeWarning: from a warning", "from a child"):
        assert words in said
    assert capfd.readouterr() == ("", "")


def test_a_log_begins_anew_unless_it_goes_on_or_is_anothers(tmp_path, capfd):
    file = tmp_path / "logs" / "x.log"
    for words, goes_on in (("one", False), ("two", True)):
        with captured(file, goes_on):
            os.write(1, words.encode())
    assert file.read_text() == "onetwo"
    with captured(file, goes_on=False):
        os.write(2, b"three")
        with captured(file, goes_on=False):  # as another run does that shares the cell
            os.write(1, b"four")
    assert file.read_text() == "threefour"
    with captured(file, goes_on=False):
        pass
    assert not file.exists(), "an empty log is none"
    (tmp_path / "file").write_text("")
    with captured(tmp_path / "file" / "x.log", goes_on=False):
        os.write(1, b"shown")
    assert capfd.readouterr().out == "shown"
