"""The verbs beside `run`, and how soon they answer."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchmark
from benchmark.cli import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with a few finished cells."""
    out = tmp_path_factory.mktemp("runs")
    methods = ["--method", "popularity", "--method", "item_mean"]
    assert (
        main(["run", "--board", "user-ranking", "--dataset", "ml-latest-small", *methods, "--seeds", "2", "--no-speed", "--out", str(out)])
        == 0
    )
    return out


@pytest.mark.parametrize("verb", ["--help", "list", "--version"])
def test_answers_at_once(verb):
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "benchmark", verb], cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5, seconds


def test_list_names_everything(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("user-ranking", "user-rating", "ml-latest-small", "ml-100k", "ml-1m", "maml", "prototypical_network"):
        assert name in text
    assert all(line.strip()[-1] != ":" for line in text.splitlines() if line)


def test_export_csv_and_json_agree(finished, capsys):
    base = ["export", "user-ranking", "--dataset", "ml-latest-small", "--out", str(finished)]
    assert main([*base, "--format", "csv"]) == 0
    as_csv = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main([*base, "--format", "json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert list(as_json[0]) == ["board", "dataset", "method", "metric", "k", "mean", "low", "high", "n_tasks", "n_seeds"]
    assert [row["mean"] for row in as_csv] == [str(row["mean"]) for row in as_json]
    methods = {row["method"] for row in as_json}
    assert methods == {"popularity", "item_mean", "chance", "oracle"}
    curve = [row["mean"] for row in as_json if row["method"] == "popularity" and row["metric"] == "ndcg@10"]
    assert len(curve) == 6
    assert len(set(curve)) == 1, "popularity does not read the support"
    assert all(row["n_seeds"] == 2 for row in as_json)


def test_render_is_pure(finished, tmp_path, capsys):
    assert main(["render", "--out", str(finished), "--to", str(tmp_path / "pages")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "pages" / "user-ranking.md")
    assert (tmp_path / "pages/user-ranking.md").read_bytes() == (finished / "leaderboards/user-ranking.md").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["export", "user-rankin", "--dataset", "ml-1m"], "no board is called 'user-rankin'"),
        (["export", "user-rating", "--dataset", "ml-1m"], "no finished cells of 'user-rating' on 'ml-1m'"),
        (["render"], "there are no finished cells"),
        (["data", "fetch", "ml-2m"], "no data set is called 'ml-2m'"),
        (["run"], "say what to run: --all, or --board B"),
    ],
)
def test_wrong_commands(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_code_1(own_cache, monkeypatch, capsys):
    from dataclasses import replace

    from benchmark.data.catalogue import SOURCES

    monkeypatch.delenv("COLDSTART_DATA", raising=False)  # where it is here, there is nothing to fetch
    monkeypatch.setitem(SOURCES, "ml-1m", replace(SOURCES["ml-1m"], url="http://127.0.0.1:9/x"))
    assert main(["data", "fetch", "ml-1m"]) == 1
    assert "cannot reach" in capsys.readouterr().err


def test_doctor_is_content_here(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "ml-latest-small: 3 files as published" in text
    assert "user-ranking on ml-latest-small: 5 splits as pinned" in text


def test_the_same_from_python(finished):
    split = benchmark.load_board("user-ranking", "ml-latest-small", seed=1)
    assert split.world.n_partners == 9_742
    assert len(split.test) == 109 or len(split.test) == 110
    frame = benchmark.run("user-ranking", "ml-latest-small", methods=["popularity"], seeds=2, out=finished)
    assert set(frame["method"]) >= {"popularity", "chance", "oracle"}
    pd_row = frame[(frame["method"] == "popularity") & (frame["k"] == 5) & (frame["metric"] == "ndcg@10")]
    assert len(pd_row) == 1
    assert 0.2 < pd_row["mean"].item() < 0.5
    assert set(benchmark.results(finished)["board"]) == {"user-ranking"}


def test_this_process_and_a_worker_give_the_same_numbers(finished, tmp_path):
    chosen = {"methods": ["item_mean", "popularity"], "seeds": 2}
    here = benchmark.run("user-ranking", "ml-latest-small", out=tmp_path, **chosen)
    there = benchmark.run("user-ranking", "ml-latest-small", out=finished, **chosen)
    assert here.equals(there)
    files = [path.relative_to(tmp_path) for path in tmp_path.glob("cells/**/seed-*") if not path.name.endswith(".run.json")]
    assert {path.suffix for path in files} == {".json", ".parquet"}
    assert all((tmp_path / path).read_bytes() == (finished / path).read_bytes() for path in files)


def test_a_script_without_a_main_guard_runs(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import benchmark\n"
        "frame = benchmark.run('user-rating', 'ml-latest-small', methods=['bias'], seeds=1, out='runs')\n"
        "print(len(frame))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 3 * (3 * 6 + 1)


def test_an_unknown_name_of_the_package():
    with pytest.raises(AttributeError, match="has no name 'World2'"):
        benchmark.World2  # noqa: B018
