"""`run` as a user types it: finished cells stay, broken methods fail alone, numbers repeat."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from baselines.trivial.popularity import Popularity
from benchmark.data import store
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.protocol import boards, tracks
from benchmark.records.store import CellStore
from benchmark.running.machine import machine

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "tests.hostile.methods"
FAST = ("--board", "user-ranking", "--board", "user-rating", "--dataset", "ml-latest-small")


def _command(out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmark", "run", *FAST, "--no-speed", "--out", str(out), *arguments]


def _environment(cache: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "COLDSTART_DATA"}
    return kept | {"COLDSTART_CACHE": str(cache)}


def _run(cache: Path, out: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        _command(out, *arguments), cwd=ROOT, env=_environment(cache), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def _methods(*names: str) -> list[str]:
    return [part for name in names for part in ("--method", name)]


def _cells(out: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p.relative_to(out)): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(out.glob("cells/**/seed-*[0-9].json"))}


def _numbers(out: Path) -> dict[str, bytes]:
    """Every byte that is the same wherever it is made: records, rows and pages, but not what a run took."""
    files = [*out.glob("cells/**/seed-*[0-9].json"), *out.glob("cells/**/*.parquet")]
    same = {str(p.relative_to(out)): p.read_bytes() for p in sorted(files)}
    return same | {p.name: p.read_bytes() for p in sorted((out / "leaderboards").glob("*.md"))}


def test_killed_in_the_middle_and_started_again(cache, tmp_path):
    chosen = [*_methods("popularity", "bias", f"{HOSTILE}:Slow"), "--seeds", "4", "--workers", "2"]
    _run(cache, tmp_path / "whole", *chosen)
    out = tmp_path / "killed"
    process = subprocess.Popen(
        _command(out, *chosen),
        cwd=ROOT,
        env=_environment(cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(_cells(out)) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = _cells(out)
    total = len(_cells(tmp_path / "whole"))
    assert 8 <= len(before) < total, "the kill came too late to test anything"
    again = _run(cache, out, *chosen)
    after = _cells(out)
    assert {name: after[name] for name in before} == before, "a finished cell was done again"
    assert f"{total} cells: {len(before)} done before" in again.stderr
    assert len(after) == total
    assert _numbers(out) == _numbers(tmp_path / "whole")
    assert not list(out.rglob(".part-*")), "the dead run's unfinished files are swept"


def test_numbers_do_not_depend_on_workers_or_on_the_order_of_cells(cache, tmp_path):
    names = ("maml", "item_knn", "als", "prototypical_network", "random")
    quick = ["--set", "maml.steps=40", "--set", "prototypical_network.steps=40", "--seeds", "2"]
    _run(cache, tmp_path / "one", *_methods(*names), *quick, "--workers", "1")
    _run(cache, tmp_path / "three", *_methods(*reversed(names)), *quick, "--workers", "3")
    one, three = _numbers(tmp_path / "one"), _numbers(tmp_path / "three")
    assert one == three
    cells = 2 * 2 * (len(names) + 2)
    assert len(one) == cells * 2 + 2
    store = CellStore(tmp_path / "three")
    facts = [store.facts(record.key) for record in store.records()]
    assert len(facts) == cells
    assert all(one.seconds >= one.fit_seconds >= 0 and one.machine == machine("cpu") for one in facts)
    assert any(one.training_seconds > 0 for one in facts)


def test_two_runs_at_once_share_the_work(cache, tmp_path):
    chosen = [*_methods("bias", f"{HOSTILE}:Slow"), "--seeds", "3", "--workers", "1"]
    both = [
        subprocess.Popen(_command(tmp_path, *chosen), cwd=ROOT, env=_environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    assert len(_cells(tmp_path)) == len(CellStore(tmp_path).records()) == 2 * 3 * 4


def test_broken_methods_fail_alone_and_say_why(cache, tmp_path):
    broken = {
        "ReturnsNaN": "score() returned nan for task 0, partner 0",
        "ReturnsInfinity": "score() returned inf",
        "WrongShape": "wanted a tensor of shape (109, 9742)",
        "WrongDtype": "score() returned torch.float64",
        "Raises": "RuntimeError: a matrix is singular",
        "Dies": "was killed by SIGKILL",
        "Exits": "SystemExit: 3",
        "ReturnsAList": "adapt() returned a state whose 'mean' is list",
        "ForgetsTheTasks": "wanted a tensor that leads with",
    }
    names = [f"{HOSTILE}:{name}" for name in broken]
    done = _run(cache, tmp_path, "--seeds", "1", *_methods(*names, "popularity", f"{HOSTILE}:ConstantScorer"), code=1)
    ranking = [line for line in done.stderr.splitlines() if line.startswith("user-ranking/")]
    for name, reason in broken.items():
        assert any(f":{name}/" in line and reason in line for line in ranking), (name, ranking)
    table = done.stdout.split("user-rating on")[0]
    assert "failed (seed 0, 1 of 1 cells): RuntimeError: a matrix is singular" in table
    assert "nan" not in "".join(line for line in table.splitlines() if line.lstrip().startswith(("1", "2", "3", "—")))
    rows = {cells[1]: cells[2:8] for line in table.splitlines() if (cells := line.split()) and len(cells) > 8}
    assert rows["tests.hostile.methods:ConstantScorer"] == rows["chance"], "a constant scorer is chance"
    again = _run(cache, tmp_path, "--seeds", "1", *_methods(f"{HOSTILE}:Raises", "popularity"), code=1)
    assert "8 cells: 6 done before, 2 to run" in again.stderr, "what failed is tried again, what is done is not"


def test_a_smaller_batch_is_noted_and_other_warnings_are_logged(cache, tmp_path):
    """On a device whose memory is too small for the board's batch the numbers are there, and the record and the table say how."""
    name = f"{HOSTILE}:SmallMemory"
    done = _run(cache, tmp_path, "--seeds", "1", "--workers", "1", *_methods(name, "popularity"))
    said = "out of device memory with 109 tasks at once: went on with 54; out of device memory with 54 tasks at once: went on with 27"
    table = done.stdout.split("user-rating on")[0]
    assert f"{name} {said} (1 of 1 cells)" in table
    assert said in (tmp_path / "leaderboards" / "user-ranking.md").read_text()
    records = {record.identity.method: record for record in CellStore(tmp_path).records() if record.board.goal == "ranking"}
    assert records[name].status == "ok"
    assert records[name].notes == tuple(said.split("; "))
    assert records["popularity"].notes == ()
    for goal in ("ranking", "rating"):
        log = (tmp_path / f"logs/user-{goal}/ml-latest-small/{quote(name)}/seed-0.log").read_text()
        assert "a warning of another kind" in log
        assert "Reduced" not in log
    assert "warning" not in done.stderr


def test_what_a_method_writes_into_its_world_stays_with_it(cache, tmp_path):
    _run(cache, tmp_path / "alone", *_methods("popularity"), "--seeds", "1", "--workers", "1")
    _run(cache, tmp_path / "after", *_methods(f"{HOSTILE}:Scribbler", "popularity"), "--seeds", "1", "--workers", "1")
    name = "cells/user-ranking/ml-latest-small/popularity/seed-0.parquet"
    assert _numbers(tmp_path / "after")[name] == _numbers(tmp_path / "alone")[name]


def test_switches_that_a_method_turns_do_not_reach_the_next(cache, tmp_path):
    chosen = _methods("als", "item_knn")
    _run(cache, tmp_path / "alone", *chosen, "--seeds", "1", "--workers", "1")
    _run(cache, tmp_path / "after", *_methods(f"{HOSTILE}:Switcher"), *chosen, "--seeds", "1", "--workers", "1")
    for name in ("als", "item_knn"):
        path = f"cells/user-ranking/ml-latest-small/{name}/seed-0.parquet"
        assert _numbers(tmp_path / "after")[path] == _numbers(tmp_path / "alone")[path]


def _board_file(path: Path, **changes: str) -> Path:
    """A board of one's own, without pins."""
    text = (ROOT / "leaderboards/boards/user-rating.toml").read_text().split("[datasets")[0].replace('"user-rating"', '"mine"')
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + "[datasets.ml-latest-small]\nseeds = 2\nfingerprints = []\n")
    return path


def test_cells_of_a_board_that_was_edited_are_made_again(cache, tmp_path):
    edits = [
        {},
        {"shots": ("shots = [0, 1, 2, 5, 10, 20]", "shots = [0, 1, 2, 5]")},
        {"relevant": ("relevant_from = 4.0", "relevant_from = 3.5")},
        {"metric": ('metric = "mae"', 'metric = "rmse"')},
        {"goal": ('goal = "rating"', 'goal = "ranking"'), "metric": ('metric = "mae"', 'metric = "ndcg@10"')},
    ]
    for number, edit in enumerate(edits):
        board = _board_file(tmp_path / "mine.toml", **edit)
        done = _on_board(cache, board, tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert "8 cells: 0 done before, 8 to run" in done.stderr, edit
        again = _on_board(cache, board, tmp_path / "out")
        assert "8 cells: 8 done before, 0 to run" in again.stderr, edit
        assert done.stdout == again.stdout
        assert number == 0 or "item_mean" in done.stdout
    other = _on_board(cache, "user-rating", tmp_path / "out", "--dataset", "ml-latest-small", "--seeds", "1")
    assert other.returncode == 0, "a board with a history spares the others"


def test_two_board_files_of_one_name_are_refused(cache, tmp_path):
    one, two = _board_file(tmp_path / "one.toml"), _board_file(tmp_path / "two.toml")
    done = _on_board(cache, one, tmp_path / "out", "--board", str(two))
    assert done.returncode == 2
    assert "are both called 'mine'" in done.stderr


def test_fresh_does_it_again(cache, tmp_path):
    _run(cache, tmp_path, *_methods("bias"), "--seeds", "1")
    before, numbers = _cells(tmp_path), _numbers(tmp_path)
    _run(cache, tmp_path, *_methods("bias"), "--seeds", "1", "--fresh")
    assert all(_cells(tmp_path)[name][0] > stamp for name, (stamp, _) in before.items())
    assert _numbers(tmp_path) == numbers


def test_a_changed_field_is_another_row(cache, tmp_path):
    done = _run(cache, tmp_path, *_methods("bias"), "--set", "bias.entity_damping=50", "--seeds", "1")
    assert "bias[entity_damping=50]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--board", "user-rankin"], "did you mean 'user-ranking'"),
        (["--dataset", "ml-2m"], "no data set is called 'ml-2m'; known: ml-latest-small, ml-100k, ml-1m"),
        (["--dataset", "ml-1m"], "data set 'ml-1m' is not here; get it with `python -m benchmark data fetch ml-1m`"),
        (["--method", "mamll"], "no method is called 'mamll'; known: random, constant"),
        (["--method", "no.such:Thing"], "cannot import 'no'"),
        (["--method", f"{HOSTILE}:Absent"], "'Absent' in tests.hostile.methods is no subclass of benchmark.Method"),
        (["--method", f"{HOSTILE}:NotAMethod"], "'NotAMethod' in tests.hostile.methods is no subclass"),
        (["--method", f"{HOSTILE}:NoDataclass"], "is not a dataclass"),
        (["--method", "maml", "--set", "maml.inner_stepps=3"], "no field is called 'inner_stepps'; known: width, hidden, inner_steps"),
        (
            ["--method", "maml", "--set", "maml.inner_steps=many"],
            "field 'inner_steps' is set to 'many'; wanted something like its default 3",
        ),
        (["--method", "maml", "--set", "inner_steps"], "wanted METHOD.FIELD=VALUE"),
        (["--method", "bias", "--set", "maml.inner_steps=1"], "no chosen method is called 'maml'"),
        (["--seeds", "9"], "has 5 seeds, and 9 were asked for"),
        (["--workers", "0"], "--workers got 0; wanted a whole number, 1 or more"),
        (["--device", "tpu"], "--device got 'tpu'; wanted cpu or cuda"),
        (["--device", "cpu:banana"], "--device got 'cpu:banana'; wanted cpu or cuda"),
        pytest.param(
            ["--device", "cuda"],
            "--device cuda: torch sees no GPU here; leave the option out to run on the CPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
        (["--data-dir", "/nope"], "--data-dir names '/nope', which is no folder"),
        (["--method", ":X"], "':X' is no package.module:Class"),
        (["--method", "..x:Y"], "'..x:Y' is no package.module:Class"),
        (["--method", "tests.hostile.raises:X"], "importing tests.hostile.raises raised RuntimeError: the licence server is away"),
        (["--all"], "--all means every board"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_code_2(cache, tmp_path, arguments, sentence):
    base = [sys.executable, "-m", "benchmark", "run", "--board", "user-ranking", "--out", str(tmp_path / "out"), *arguments]
    done = subprocess.run(base, cwd=ROOT, env=_environment(cache), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists(), "a refused command leaves nothing"


def test_a_folder_that_cannot_be_written_is_one_sentence(cache, tmp_path):
    (tmp_path / "file").write_text("")
    done = _run(cache, tmp_path / "file" / "out", *_methods("bias"), code=1)
    assert "cannot make the folder" in done.stderr
    assert "Traceback" not in done.stderr


def _on_board(cache: Path, board: Path | str, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "run",
        "--board",
        str(board),
        *_methods("bias", "item_mean"),
        "--no-speed",
        "--out",
        str(out),
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, env=_environment(cache), capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("relevant_from = 4.0", "relevant_from = 3.5", "this split has fingerprint"),
        ("shots = [0, 1, 2, 5, 10, 20]", "shots = [0, 3000]", "needs entities with 3005 rows or more"),
    ],
)
def test_a_board_that_cannot_be_is_one_sentence(cache, tmp_path, old, new, sentence):
    text = (ROOT / "leaderboards/boards/user-rating.toml").read_text()
    edited = tmp_path / "edited.toml"
    edited.write_text(text.replace(old, new).replace('name = "user-rating"', 'name = "edited"'))
    done = _on_board(cache, edited, tmp_path / "out")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_a_truncated_archive_is_one_sentence_and_spares_the_other_data(cache, tmp_path):
    whole = (ROOT / "benchmark/data/embedded/ml-latest-small.zip").read_bytes()
    (tmp_path / "ml-100k.zip").write_bytes(whole[: len(whole) // 2])
    done = _on_board(cache, "user-rating", tmp_path / "out", "--data-dir", str(tmp_path), "--seeds", "1")
    assert done.returncode == 1
    assert done.stderr.count("ml-100k.zip cannot be read as a zip") == 1
    assert "user-rating on ml-latest-small" in done.stdout
    assert not list((tmp_path / "out").glob("cells/*/ml-100k"))


def test_a_named_archive_is_verified_although_its_columns_are_cached(cache, tmp_path):
    good = ROOT / "benchmark/data/embedded/ml-latest-small.zip"
    _on_board(cache, "user-rating", tmp_path / "warm", "--dataset", "ml-latest-small", "--seeds", "1")
    content = bytearray(good.read_bytes())
    content[len(content) // 3] ^= 0xFF
    (tmp_path / good.name).write_bytes(content)
    done = _on_board(cache, "user-rating", tmp_path / "out", "--dataset", "ml-latest-small", "--seeds", "1", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "ml-latest-small.zip" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_frozen_figures_are_of_a_fit_before_the_first_window(cache, tmp_path, monkeypatch):
    """Refitted and frozen are two fits on two worlds, asked the same tasks; before the first window they are one."""
    monkeypatch.setenv("COLDSTART_CACHE", str(cache))
    chosen = ["--board", "drift-ranking", "--dataset", "synthetic-drift", *_methods("popularity"), "--seeds", "2", "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "benchmark", "run", *chosen], cwd=ROOT, env=_environment(cache), check=True, capture_output=True)
    board, data = boards.load("drift-ranking"), store.load("synthetic-drift")
    for seed_index in range(2):
        (path,) = tmp_path.glob(f"cells/**/popularity/seed-{seed_index}.parquet")
        rows = pq.read_table(path)
        split = tracks.cut(board, data, seed_index)
        for name, part in (("ndcg@10", split), ("frozen-ndcg@10", split.frozen or split)):
            learner = Popularity().fit(part.world, 0, validator(part))
            wanted = evaluate(learner, part.board, part.world, part.test).columns["ndcg@10"]
            np.testing.assert_allclose(rows.column(name).to_numpy(), wanted)
        assert (seed_index == 0) == rows.column("ndcg@10").equals(rows.column("frozen-ndcg@10"))
