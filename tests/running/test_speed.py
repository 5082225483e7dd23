"""Speed as `run` measures it: after accuracy, once a data set, a record a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.records.speed import SpeedStore, machine_id
from benchmark.running import plan
from benchmark.running.machine import machine, noise
from benchmark.running.speed import chosen

ROOT = Path(__file__).resolve().parents[2]
TRAINS = "tests.hostile.timings:Trains"
BOTH = ("--board", "user-ranking", "--board", "user-rating", "--dataset", "ml-latest-small")


def _run(tmp_path: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmark", "run", "--seeds", "1", "--out", str(tmp_path / "out"), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "COLDSTART_DATA"}
    environment["COLDSTART_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_speed_is_measured_once_a_data_set_after_accuracy(tmp_path):
    done = _run(tmp_path, *BOTH, "--method", "popularity", "--method", "user_mean", "--method", "item_knn")
    assert "3 speed measurements: 0 done before, 3 to run" in done.stderr
    before, _, after = done.stderr.partition("3 speed measurements")
    assert (before.count("\n["), after.count("\n[")) == (10, 3), "accuracy comes first"
    store = SpeedStore(tmp_path / "out")
    records = {(one.identity.board, one.identity.method): one for one in store.records()}
    assert set(records) == {("user-ranking", "popularity"), ("user-rating", "user_mean"), ("user-ranking", "item_knn")}
    for one in records.values():
        assert one.status == "ok"
        assert one.machine == machine("cpu")
        assert one.machine_id == machine_id(machine("cpu"))
        assert one.repeats >= 200
        assert one.agreement == "bit-exact"
        assert set(one.throughput) == {1, 32, 1024}
        assert one.adapt_and_rank_ms.p50 > one.adapt_ms.p50 > 0
        assert one.adapt_ms.p50 <= one.adapt_ms.p95 <= one.adapt_ms.p99
        assert (one.device_bytes, one.joules, one.adapt_ms.device_p50) == (None, None, None), "no GPU ran, and none is invented"
        assert {"load_1min", "wall_seconds"} <= set(one.before) & set(one.after)
    assert records["user-ranking", "item_knn"].state_bytes > records["user-ranking", "popularity"].state_bytes
    assert "user-ranking on ml-latest-small: speed on" in done.stdout
    assert "### Speed on" in (tmp_path / "out/leaderboards/user-ranking.md").read_text()
    again = _run(tmp_path, *BOTH, "--method", "popularity", "--method", "user_mean", "--method", "item_knn")
    assert "speed measurements" not in again.stderr, "what is measured is not measured again"
    assert "speed on" in again.stdout


def test_no_speed_measures_none_and_speed_each_board(tmp_path):
    board = ("--board", "warm-rating", "--dataset", "ml-latest-small", "--method", "item_mean")
    assert "speed measurements" not in _run(tmp_path, *board).stderr, "another board stands for it"
    assert "speed measurements" not in _run(tmp_path, *BOTH, "--method", "item_mean", "--no-speed").stderr
    assert "1 speed measurements" in _run(tmp_path, *board, "--speed").stderr
    assert "2 speed measurements" in _run(tmp_path, *BOTH, "--method", "item_mean", "--speed").stderr


def test_what_looks_fast_is_told_apart(tmp_path):
    done = _run(tmp_path, *BOTH[:2], *BOTH[4:], "--method", TRAINS)
    assert "in its warm-up beyond answering; charged to its fit" in done.stdout
    (one,) = SpeedStore(tmp_path / "out").records()
    assert one.fit_seconds > 0.3, "the fit itself does nothing"
    behind = _run(tmp_path, *BOTH[:2], *BOTH[4:], "--method", "tests.hostile.timings:TrainsOn", code=1)
    assert "the method left training running; all work ends before fit()" in behind.stderr
    failed = _run(tmp_path, *BOTH[:2], *BOTH[4:], "--method", TRAINS, "--set", f"{TRAINS}.kind=Remembers", code=1)
    assert "a learner is immutable" in failed.stderr
    assert "failed: the learner held" in failed.stdout


def test_which_cells_stand_for_the_others():
    entries = plan.known_methods(["popularity", "bias"], [])
    boards = ["user-rating", "user-ranking", "item-ranking"]
    cells = plan.make(boards, ["ml-latest-small"], entries, None, "cpu", None).cells
    able = [cell for cell in cells if (cell.identity.board, cell.identity.method) != ("user-rating", "popularity")]  # n/a there
    once = {(cell.identity.board, cell.identity.method) for cell in chosen(able, every_board=False)}
    assert once == {("user-rating", "bias"), ("user-ranking", "popularity")}
    every = [(cell.identity.board, cell.identity.method, cell.identity.seed_index) for cell in chosen(able, every_board=True)]
    assert sorted(every) == [
        ("item-ranking", "bias", 0),
        ("item-ranking", "popularity", 0),
        ("user-ranking", "bias", 0),
        ("user-ranking", "popularity", 0),
        ("user-rating", "bias", 0),
    ]


QUIET = {"wall_seconds": 0.0, "own_seconds": 0.0, "busy_seconds": 0.0, "stolen_seconds": 0.0, "cpu_mhz": 3000.0, "cpu_throttled": 4}
LATER = {**QUIET, "wall_seconds": 10.0, "own_seconds": 10.0, "busy_seconds": 10.5}


@pytest.mark.parametrize(
    ("before", "after", "spread", "said"),
    [
        ({}, {}, 0.1, []),
        ({}, {"busy_seconds": 15.0}, 0.1, ["other work used 0.5 cores"]),
        ({}, {"stolen_seconds": 4.0}, 0.1, ["other work used 0.5 cores"]),
        ({}, {}, 0.4, ["spread over 40%"]),
        ({}, {"cpu_mhz": 2000.0}, 0.1, ["cpu_mhz fell from 3000.0 to 2000.0"]),
        ({}, {"cpu_throttled": 5}, 0.1, ["throttled for heat"]),
        ({}, {"gpu_throttle_reasons": 0x21}, 0.1, ["the GPU was throttled (reasons 0x21)"]),
        ({}, {"gpu_throttle_reasons": 1}, 0.1, []),
        ({}, {"gpu_others_bytes": 3 << 30}, 0.1, ["another process used the GPU: it held 3.0 GiB of it"]),
        ({}, {"gpu_throttle_reasons": 2}, 0.1, []),
        ({"gpu_others_bytes": 3 << 30}, {}, 0.1, ["another process used the GPU: it held 3.0 GiB of it"]),
        ({"gpu_others_bytes": 100 << 20, "gpu_busy_percent": 0}, {}, 0.1, []),
        ({"gpu_busy_percent": 40}, {}, 0.1, ["another process used the GPU: it kept it busy for 40% of the time"]),
    ],
)
def test_noise(before, after, spread, said):
    found = noise({**QUIET, **before}, {**LATER, **after}, spread)
    assert len(found) == len(said)
    for phrase, part in zip(found, said, strict=True):
        assert part in phrase


def test_noise_without_the_kernels_books():
    bare = {"wall_seconds": 0.0, "own_seconds": 0.0, "load_1min": 0.1}
    assert noise(bare, {**bare, "wall_seconds": 3.0}, 0.0) == ()
