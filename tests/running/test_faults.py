"""What goes wrong around a cell: killed workers, want of memory, hanging methods, locks, Ctrl-C, clocks; and what it all costs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from benchmark import files
from benchmark.records import lock
from benchmark.records.store import CellStore
from benchmark.running import plan, session
from benchmark.running.executors.local import Local
from benchmark.running.executors.logs import log_path
from benchmark.running.methods import Entry
from benchmark.running.plan import Cell
from tests.hostile import acts
from tests.records.make import FACTS, record
from tests.running.test_run import HOSTILE, ROOT, _cells, _command, _environment, _methods, _numbers, _run


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """chance, oracle, bias, random."""
    return plan.make(["user-rating"], ["ml-latest-small"], plan.known_methods(["bias", "random"], []), 1, "cpu", None).cells


def _told(outcomes, method: str = "bias"):
    return [one for one in outcomes if one.cell.identity.method == method]


def test_a_killed_worker_costs_its_cell_a_second_try_and_nothing_else(cells, tmp_path):
    outcomes = list(Local(1, "cpu").run(cells, tmp_path, acts.is_killed_once))
    told = _told(outcomes)
    assert [one.status for one in told] == ["running", "again", "running", "ok"]
    assert told[1].reason == "its worker was killed by SIGKILL"
    fresh = told[-1].reason
    assert [one.reason for one in outcomes if one.status == "ok"][:2] != [fresh] * 2, "the second try was in another process"
    assert {one.cell.key for one in outcomes if one.status == "ok"} == {cell.key for cell in cells}


def test_a_cell_that_kills_two_workers_is_lost_and_says_so(cells, tmp_path):
    outcomes = list(Local(2, "cpu").run(cells, tmp_path, acts.is_killed))
    told = _told(outcomes)
    assert [one.status for one in told] == ["running", "again", "running", "lost"]
    assert "its worker was killed by SIGKILL, as was another before it, perhaps out of memory" in told[-1].reason
    assert (tmp_path / "tries-bias-0").read_text() == "xx"
    assert sum(one.status == "ok" for one in outcomes) == 3


def test_want_of_memory_is_tried_again_in_a_fresh_worker(cells, tmp_path):
    outcomes = list(Local(1, "cpu").run(cells, tmp_path, acts.finds_no_memory_once))
    told = _told(outcomes)
    assert [one.status for one in told] == ["running", "again", "running", "ok"]
    before = next(one.reason for one in outcomes if one.status == "ok")
    assert told[-1].reason != before


def test_a_methods_own_exception_is_not_tried_again_and_its_traceback_is_in_the_log(cells, tmp_path):
    outcomes = list(Local(1, "cpu").run(cells[2:3], tmp_path, acts.raises))
    assert [one.status for one in outcomes] == ["running", "failed"]
    assert (tmp_path / "tries-bias-0").read_text() == "x"
    assert log_path(tmp_path, cells[2].key, "raises").read_text() == "Traceback (most recent call last): here\n"


def test_a_hanging_cell_is_stopped_and_its_log_says_where_it_hung(cells, tmp_path):
    started = time.monotonic()
    outcomes = list(Local(1, "cpu", cell_seconds=1.5).run(cells, tmp_path, acts.hangs))
    assert time.monotonic() - started < 60
    told = _told(outcomes)
    assert [(one.status, one.reason) for one in told] == [("running", ""), ("failed", "took longer than 1.5 s")]
    assert told[-1].seconds >= 1.5
    log = log_path(tmp_path, cells[2].key, "hangs").read_text()
    assert log.startswith("going to sleep\n")
    assert "in hangs" in log
    assert [one.status for one in outcomes].count("ok") == 3


def test_a_cell_past_its_time_is_recorded_as_failed(cache, tmp_path):
    name = f"{HOSTILE}:Slow"
    chosen = ["--seeds", "1", "--workers", "1", "--set", f"{name}.seconds=100.0", *_methods("bias", name), "--cell-seconds", "6"]
    done = _run(cache, tmp_path, *chosen, code=1)
    assert f"user-ranking/ml-latest-small/{name}[seconds=100.0]/seed-0 and 1 more: failed: took longer than 6 s" in done.stderr
    failed = [one for one in CellStore(tmp_path).records() if one.status == "failed"]
    assert [one.reason for one in failed] == ["took longer than 6 s"] * 2
    assert all(one.identity.target == name for one in failed), "the record is of the method, not of what stood in for it"
    assert "failed (seed 0, 1 of 1 cells): took longer than 6 s" in done.stdout


def test_a_wait_for_another_run_names_it_and_is_no_time_of_the_cell(cells, tmp_path, monkeypatch):
    outcomes = Local(1, "cpu", cell_seconds=2).run(cells[2:3], tmp_path, acts.locks)
    with CellStore(tmp_path).lock(cells[2].key):
        assert next(outcomes).status == "running"
        said = next(outcomes)
        assert said.status == "said"
        assert said.reason == (
            f"user-rating/ml-latest-small/bias/seed-0 waits for process {os.getpid()} on {lock.platform.node()}, which is at it"
        )
    assert [one.status for one in outcomes] == ["ok"]


def test_a_lock_dies_with_its_process(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from benchmark.records.lock import held
with held(Path({str(tmp_path / "locks" / "x.lock")!r}), "a cell"):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    owner = tmp_path / "locks" / "x.owner"
    assert lock.holder(owner).startswith(f"process {process.pid} on ")
    process.kill()
    process.wait()
    started = time.monotonic()
    with lock.held(tmp_path / "locks" / "x.lock", "a cell"):
        assert time.monotonic() - started < 1
        assert lock.holder(owner).startswith(f"process {os.getpid()} on "), "the dead owner's name is written over"
    assert not owner.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_a_torn_note_of_an_owner_is_borne(tmp_path, text):
    (tmp_path / "x.owner").write_text(text)
    assert lock.holder(tmp_path / "x.owner") == "another process, which is at it"


def test_ctrl_c_finishes_nothing_half_and_says_how_to_go_on(cache, tmp_path):
    name = f"{HOSTILE}:Slow"
    chosen = ["--seeds", "2", "--workers", "2", "--set", f"{name}.seconds=30.0", *_methods("bias", name)]
    process = subprocess.Popen(
        _command(tmp_path, *chosen), cwd=ROOT, env=_environment(cache), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(_cells(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    dead = subprocess.run([sys.executable, "-c", "from benchmark import files; print(files.part_prefix())"], capture_output=True, text=True)
    (tmp_path / "cells" / f"{dead.stdout.strip()}x").write_text("half of a record")
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; finished cells are kept, run the same command again to go on" in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob(".part-*"))
    assert _workers_of(process.pid) == []
    assert not [one for one in Path("/proc").glob("[0-9]*") if _of_session(one, process.pid)], "no worker outlives its driver"
    assert len(CellStore(tmp_path).records()) == len(_cells(tmp_path)) >= 3


@pytest.mark.parametrize(("ahead", "kept"), [(60, True), (-60, True), (7200, False), (-7200, False)])
def test_a_clock_that_jumped_keeps_what_may_be_alive_and_nothing_for_ever(tmp_path, ahead, kept):
    part = tmp_path / ".part-0badcafe-1-x"
    part.write_text("of another machine")
    os.utime(part, (time.time() + ahead, time.time() + ahead))
    files.sweep(tmp_path)
    assert part.exists() == kept


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_limit_that_is_none(cache, tmp_path, value):
    done = _run(cache, tmp_path, *_methods("bias"), f"--cell-seconds={value}", code=2)
    assert f"--cell-seconds got {value}; wanted a number of seconds above 0" in done.stderr


def _finished(store: CellStore, n: int) -> list[Cell]:
    """Cells of the size that real ones have, done."""
    task, shots = 110, (0, 1, 2, 5, 10, 20)
    columns = {name: [0.5] * task * len(shots) for name in ("mae", "rmse", "ndcg@5-rated")}
    rows = pa.table({"task": list(range(task)) * len(shots), "k": [k for k in shots for _ in range(task)], **columns})
    facts = FACTS.model_copy(update={"shots": shots})
    summary = {name: dict.fromkeys(shots, 0.5) for name in columns}
    cells = []
    for number in range(n):
        done = record(f"method-{number // 5}", number % 5, task, config={f"field_{i}": i for i in range(10)})
        store.write(done.model_copy(update={"board": facts, "summary": summary}), rows)
        cells.append(Cell("user-rating", done.identity, Entry(done.identity.method, "m:M"), None))
    return cells


def test_a_glance_sees_what_is_torn_and_a_full_look_what_contradicts_itself(tmp_path):
    store = CellStore(tmp_path)
    whole, cut, edited = _finished(store, 3)
    parquet = store.path(cut.key).with_suffix(".parquet")
    parquet.write_bytes(parquet.read_bytes()[:-1])
    told = store.path(edited.key)
    told.write_text(told.read_text().replace("0.5", "0.6", 1))
    assert session.unfinished([whole, cut, edited], store) == [cut]
    assert store.read(edited.key) is None
    lines = session._forgotten({edited.key, cut.key}, store)
    assert len(lines) == 1
    assert "method-0/seed-2: the record contradicts its rows and is removed; run the same command again" in lines[0]
    assert session.unfinished([whole, edited], store) == [edited]


@pytest.mark.slow
def test_five_thousand_finished_cells_are_told_in_three_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda handle: None)
    store = CellStore(tmp_path)
    cells = _finished(store, 5000)
    started = time.monotonic()
    assert session.unfinished(cells, store) == []
    assert time.monotonic() - started < 3


def test_a_cell_costs_less_than_twenty_milliseconds_beside_its_work(cells, tmp_path):
    ended = [time.monotonic() for one in Local(1, "cpu").run(cells * 50, tmp_path, acts.nothing) if one.is_end]
    assert (ended[-1] - ended[0]) / (len(ended) - 1) < 0.02, "the start of the worker is in the first"


def _workers_of(driver: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == driver and "multiprocessing.spawn" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return sorted(found)


def _of_session(folder: Path, session_id: int) -> bool:
    with contextlib.suppress(OSError):
        of = (folder / "stat").read_text().rpartition(")")[2].split()[3]
        return int(of) == session_id and "multiprocessing.spawn" in (folder / "cmdline").read_text()
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers through /proc")
def test_chaos(cache, tmp_path):
    """60 cells; workers are killed at random, the driver twice; each cell is there once, and the tables are those of an undisturbed run."""
    chosen = [*_methods("popularity", "item_mean", "bias", f"{HOSTILE}:Slow"), "--seeds", "5", "--workers", "2"]
    _run(cache, tmp_path / "calm", *chosen)
    whole = _numbers(tmp_path / "calm")
    assert len(_cells(tmp_path / "calm")) == 60
    out, luck, kept = tmp_path / "chaos", random.Random(7), {}
    for until in (15, 35, 60):
        process = subprocess.Popen(
            _command(out, *chosen), cwd=ROOT, env=_environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline, kills = time.monotonic() + 200, 0
        when = sorted(luck.sample(range(len(kept) + 1, until - 4), 3))  # at so many cells a worker is killed
        while process.poll() is None and time.monotonic() < deadline and (len(_cells(out)) < until or until == 60):
            time.sleep(0.02)
            workers = _workers_of(process.pid)
            if workers and when and len(_cells(out)) >= when[0]:
                when, kills = when[1:], kills + 1
                os.kill(luck.choice(workers), signal.SIGKILL)
        if until < 60:
            process.kill()
        process.wait(timeout=200)
        now = _cells(out)
        assert kills
        assert {name: now[name] for name in kept} == kept, "a finished cell was done again"
        kept = now
    _run(cache, out, *chosen)  # where a cell lost two workers, it is still to do
    assert len(_cells(out)) == len(CellStore(out).records()) == 60
    assert _numbers(out) == whole
    assert not list(out.rglob(".part-*"))
