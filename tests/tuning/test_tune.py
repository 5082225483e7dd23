"""`tune` as a user types it: one budget for all, nothing lost, nothing seen that is tested, and `run` takes what it found."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from baselines import METHODS
from benchmark.contract import Features
from benchmark.data import store
from benchmark.errors import UsageError
from benchmark.evaluation.evaluate import validator
from benchmark.protocol import boards, tracks
from benchmark.records.store import CellStore
from benchmark.running import plan, tuned
from benchmark.running.methods import build, entry
from benchmark.trust.laws import scores
from benchmark.tuning.session import studies_of
from benchmark.tuning.space import space
from benchmark.tuning.study import Budget, Study

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests.hostile.searches"
POOR = f"{HERE}:Poor"
BOARD = ("--board", "user-rating", "--dataset", "ml-latest-small")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _command(out: Path, verb: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmark", verb, *arguments, *BOARD, "--out", str(out)]


def _environment(cache: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "COLDSTART_DATA"}
    return kept | {"COLDSTART_CACHE": str(cache)}


def _do(cache: Path, out: Path, verb: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        _command(out, verb, *arguments), cwd=ROOT, env=_environment(cache), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def _file(out: Path, method: str) -> dict:
    return tomllib.loads(tuned.path(out / "tuned", "user-rating", "ml-latest-small", method).read_text())


def _trials(out: Path, method: str, seed: int = 4) -> list:
    """Every trial that ended, as the journal has it."""
    journal = out / "tuning" / "user-rating" / "ml-latest-small" / f"{method}-seed-{seed}.journal"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    (study,) = optuna.get_all_study_names(storage)
    every = optuna.load_study(study_name=study, storage=storage).trials
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL)
    return [t for t in every if t.state in ended and "abandoned" not in t.user_attrs]


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """Two methods tuned without disturbance."""
    out = tmp_path_factory.mktemp("whole")
    done = _do(cache, out, "tune", "bias", POOR, "constant", "popularity", "--trials", "7", "--workers", "2")
    return out, done


def test_trials_are_scored_on_validation_entities_and_no_others(whole):
    """The default's score in the tuned file is what a walk over the validation tasks of that split gives."""
    out, _ = whole
    dataset, board = store.load("ml-latest-small"), boards.load("user-rating")
    for study in _file(out, "bias")["study"]:
        split = tracks.cut(board, dataset, study["seed_index"])
        learner = build(entry("bias")).fit(split.world, split.seed, lambda _: 0.0)
        means = []
        for tasks in (split.validation, split.test):
            found = []
            for k in (k for k in board.shots if k >= 1):
                state, (partner, rating, mask) = learner.adapt(tasks.support(k)), tasks.padded_query()
                gap = (learner.score(state, partner).clamp(*split.world.rating_range) - rating).abs() * mask
                found.append((gap.sum(1) / mask.sum(1)).mean().item())
            means.append(-np.mean(found))
        assert study["default_score"] == pytest.approx(means[0], abs=1e-6)
        assert abs(study["default_score"] - means[1]) > 1e-4


def test_a_study_never_sees_whom_its_seeds_test():
    """On a small data set every slice is tested: the seed whose test entities are searched on has a study of its own."""
    dataset, board = store.load("ml-latest-small"), boards.load("user-rating")
    found = studies_of("user-rating", board, "ml-latest-small", None)
    assert sorted(seed for seeds in found.values() for seed in seeds) == [0, 1, 2, 3, 4]
    assert found == {4: (1, 2, 3, 4), 0: (0,)}
    for studied, seeds in found.items():
        split = tracks.cut(board, dataset, studied)
        seen = tracks.published_entities(split, split.validation)
        for seed in seeds:
            other = tracks.cut(board, dataset, seed)
            assert not np.isin(tracks.published_entities(other, other.test), seen).any()


def test_where_time_decides_one_study_that_sees_no_window_serves_all():
    drift = boards.load("drift-rating")
    assert studies_of("drift-rating", drift, "synthetic-drift", None) == {0: tuple(range(12))}
    dataset = store.load("synthetic-drift")
    asked = [tracks.cut(drift, dataset, window).test for window in range(4)]
    first = tracks.cut(drift, dataset, 0)
    assert first.validation.pool_time.max() < first.world.ratings.time.max() < min(int(one.pool_time.max()) for one in asked) + 86_400
    assert studies_of("user-arrival-rating", boards.load("user-arrival-rating"), "ml-latest-small", None) == {2: (0, 1, 2)}


@pytest.mark.data
def test_one_study_is_enough_where_some_slices_are_never_tested(real_data):
    assert studies_of("user-rating", boards.load("user-rating"), "ml-1m", real_data) == {2: (0, 1, 2)}
    # Five draws of three slices: two studies serve all of them.
    drawn = studies_of("papers/melu", boards.load("papers/melu"), "ml-1m-melu", real_data)
    assert drawn == {14: tuple(seed for seed in range(15) if seed % 3), 0: (0, 3, 6, 9, 12)}


def test_every_method_has_the_same_trials_and_the_default_is_one_of_them(whole):
    out, _ = whole
    for study in _file(out, "bias")["study"]:
        assert (study["trials"], study["failed"]) == (7, 0)
        assert study["best_score"] >= study["default_score"]
    assert _trials(out, "bias")[0].params == space(entry("bias"))[1]
    assert all(study["trials"] == 1 for study in _file(out, "constant")["study"]), "nothing to search is one trial"


def test_the_table_says_what_was_gained_on_the_test_entities(whole):
    out, done = whole
    assert "tuned on validation entities, against default" in done.stdout
    assert "popularity/seed-4 n/a: it predicts no rating" in done.stdout
    page = (out / "tuning" / "user-rating" / "ml-latest-small.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("| tests"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    mine, default = CellStore(out), CellStore(out / "tuning" / "defaults")
    areas = []
    for stores in ((default,), (mine, default)):  # a cell that the search left as it is was not run twice
        rows = []
        for key in (("user-rating", "ml-latest-small", POOR, seed) for seed in range(5)):
            where = next(one for one in stores if one.read(key) is not None)
            rows.append(np.asarray(where.rows(where.read(key))["mae"]).reshape(6, -1)[1:].mean(0))
        areas.append(np.concatenate(rows).mean())
    assert areas[0] != areas[1]
    assert cells[6:8] == [f"{area:.4f}" for area in areas]
    assert cells[8] == f"{areas[1] - areas[0]:+.4f}"


def test_run_takes_what_was_tuned_and_says_so(cache, whole):
    out, _ = whole
    _do(cache, out, "run", "--no-speed", "--method", POOR)
    studies = {seed: one for one in tuned.read(tuned.path(out / "tuned", "user-rating", "ml-latest-small", POOR)) for seed in one.seeds}
    for seed in range(5):
        record = CellStore(out).read(("user-rating", "ml-latest-small", POOR, seed))
        assert record.tuning["trials"] == 7
        assert {k: record.identity.config[k] for k in studies[seed].settings} == studies[seed].settings != {}
    elsewhere = out / "elsewhere"
    _do(cache, elsewhere, "run", "--no-speed", "--method", POOR, "--seeds", "1", "--untuned")
    record = CellStore(elsewhere).read(("user-rating", "ml-latest-small", POOR, 0))
    assert (record.tuning, record.identity.config) == ({}, {"partner_damping": 10.0, "entity_damping": 5000.0})


def test_a_file_of_another_split_is_refused_and_both_are_named(cache, whole, tmp_path):
    out, _ = whole
    file = tuned.path(out / "tuned", "user-rating", "ml-latest-small", "bias")
    foreign = tuned.path(tmp_path / "tuned", "user-rating", "ml-latest-small", "bias")
    foreign.parent.mkdir(parents=True)
    pinned = boards.load("user-rating").pin("ml-latest-small").fingerprints[4]
    foreign.write_text(file.read_text().replace(pinned, "f" * 64))
    done = _do(cache, tmp_path, "run", "--method", "bias", code=1)
    assert "f" * 64 in done.stderr
    assert pinned in done.stderr
    assert "--untuned" in done.stderr
    foreign.write_text(file.read_text().replace("[study.settings]", "[study.settings]\ndampness = 3.0"))
    assert "no field is called 'dampness'" in _do(cache, tmp_path, "run", "--method", "bias", code=2).stderr
    foreign.write_text("study = 7")
    assert "cannot be read" in _do(cache, tmp_path, "run", "--method", "bias", code=2).stderr


def test_interrupted_and_started_again_is_the_same_search(cache, tmp_path):
    arguments = (f"{HERE}:Slow", "--trials", "6", "--workers", "1", "--seeds", "1")
    _do(cache, tmp_path / "whole", "tune", *arguments)
    out, method = tmp_path / "cut", f"{HERE}:Slow"
    for wait_for in (2, 4):
        process = subprocess.Popen(_command(out, "tune", *arguments), cwd=ROOT, env=_environment(cache), stderr=subprocess.PIPE)
        journal = out / "tuning" / "user-rating" / "ml-latest-small" / f"{method}-seed-4.journal"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not journal.exists() or journal.read_text().count('"op_code":6') < wait_for):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL if wait_for == 2 else signal.SIGINT)
        process.communicate(timeout=60)
    _do(cache, out, "tune", *arguments)
    wanted, got = ([t.params for t in _trials(root, method)] for root in (tmp_path / "whole", out))
    assert got == wanted
    assert [s["settings"] for s in _file(out, method)["study"]] == [s["settings"] for s in _file(tmp_path / "whole", method)["study"]]


def test_two_processes_share_a_study(cache, tmp_path):
    arguments = (f"{HERE}:Slow", "--trials", "8", "--workers", "1", "--seeds", "1")
    both = [
        subprocess.Popen(
            _command(tmp_path, "tune", *arguments), cwd=ROOT, env=_environment(cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=280)
        assert process.returncode == 0, out + err
    for seed in (4, 0):
        ended = _trials(tmp_path, f"{HERE}:Slow", seed)
        assert len(ended) == 8, "exactly the trials of the budget, however many share it"
        assert len({t.user_attrs["owner"] for t in ended}) == 2
    assert all(study["trials"] == 8 for study in _file(tmp_path, f"{HERE}:Slow")["study"])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Raises", "ValueError: no damping of"),
        ("Dies", "its worker ended with code 3"),
        ("Hangs", "the most that a trial of this budget may take"),
    ],
)
def test_a_trial_that_goes_wrong_is_recorded_and_costs_nothing_else(cache, tmp_path, kind, reason):
    budget = ("--seconds", "4", "--trials", "4") if kind == "Hangs" else ("--trials", "3")
    done = _do(cache, tmp_path, "tune", f"{HERE}:{kind}", "bias", *budget, "--workers", "2", "--seeds", "1")
    assert reason in next(line for line in done.stderr.splitlines() if f"{kind}/seed-4" in line)
    ended = _trials(tmp_path, f"{HERE}:{kind}")
    assert ended[0].value is not None
    assert all(reason in t.user_attrs["reason"] for t in ended[1:])
    study = _file(tmp_path, f"{HERE}:{kind}")["study"][0]
    assert study["failed"] == len(ended) - 1 >= 1
    assert study["settings"] == {}
    assert kind != "Hangs" or (len(ended) >= 3 and study["seconds"] <= 4 + 1), "a trial that hangs leaves time for others, within the cap"
    assert _file(tmp_path, "bias")["study"][0]["failed"] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((f"{HERE}:Empty",), "may be searched from 10.0 to 1.0, which is an empty range"),
        ((f"{HERE}:Logarithm",), "from 0.0 to 100.0 on a log scale, which is an empty range"),
        ((f"{HERE}:Outside",), "its default is 500.0; widen the range"),
        ((f"{HERE}:Choice",), "its default is 5.0; add it to the choices"),
        ((f"{HERE}:Halves",), "is a whole number and may be searched from 0.5 to 3.5"),
        ((), "say what to tune"),
        (("bias", "--all"), "say what to tune"),
        (("bias", "--trials", "0"), "a budget of 0 trials"),
        (("bias", "--seconds", "-1"), "a budget of 20 trials and -1 seconds"),
        (("bais",), "did you mean 'bias'"),
        (("bias", "--workers", "0"), "--workers got 0"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_nothing_runs(cache, tmp_path, arguments, sentence):
    done = _do(cache, tmp_path / "out", "tune", *arguments, code=2)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_a_board_without_validation_entities_is_one_sentence(real_data, tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "tune",
        "bias",
        "--board",
        "papers/surprise",
        "--dataset",
        "ml-100k",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "--data-dir", str(real_data)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "has no validation entities, so nothing can be tuned on it" in done.stderr


@pytest.mark.parametrize("column", ["settings = 5", 'seed_index = "4"', "trials = -1.5", "surprise = 1"])
def test_a_tuned_file_of_another_shape_is_one_sentence(whole, tmp_path, column):
    out, _ = whole
    text = tuned.path(out / "tuned", "user-rating", "ml-latest-small", "bias").read_text()
    field = column.partition(" = ")[0]
    lines = [line for line in text.splitlines() if not line.startswith(f"{field} =")]
    lines = [line for line in lines if not (field == "settings" and ("study.settings" in line or "_damping" in line))]
    place = lines.index("[[study]]") + 1
    file = tmp_path / "one.toml"
    file.write_text("\n".join([*lines[:place], column, *lines[place:]]))
    with pytest.raises(UsageError, match=r"tuned file '.*one.toml' cannot be read .*--untuned"):
        tuned.read(file)


def test_what_is_not_applicable_stays_so(cache, tmp_path):
    for _ in range(2):
        done = _do(cache, tmp_path, "tune", "popularity", "--trials", "1", "--workers", "1", "--seeds", "1")
        assert "popularity/seed-4 n/a: it predicts no rating" in done.stdout
    assert not tuned.path(tmp_path / "tuned", "user-rating", "ml-latest-small", "popularity").exists()


def test_a_smaller_budget_sees_its_part_of_a_larger_one(cache, whole, tmp_path):
    out, _ = whole
    shutil.copytree(out / "tuning", tmp_path / "tuning")
    _do(cache, tmp_path, "tune", "bias", "--trials", "3", "--workers", "1", "--seeds", "1")
    assert [study["trials"] for study in _file(tmp_path, "bias")["study"]] == [3, 3]


def test_a_torn_journal_goes_on(tmp_path, monkeypatch):
    distributions, defaults = space(entry("bias"))
    journal = tmp_path / "one.journal"

    def run(trials):
        study = Study(journal, "one", distributions, defaults, Budget(trials, 100.0))
        while (trial := study.ask()) is not None:
            study.tell(trial, 0.5, 0.1)
        return study

    run(2)
    journal.write_bytes(journal.read_bytes()[:-7])
    monkeypatch.setattr("benchmark.tuning.study._began", lambda pid: "later")  # whoever tore it is gone
    study = run(4)
    assert study.is_over()
    assert study.found(0, "", (), "").trials == 4


def test_trials_of_other_processes_count_and_those_of_lost_ones_do_not(tmp_path, monkeypatch):
    distributions, defaults = space(entry("bias"))
    study = Study(tmp_path / "one.journal", "one", distributions, defaults, Budget(3, 8.0))
    first = study.ask()
    time.sleep(1.1)
    second = study.ask()
    assert second.seconds_left <= 8 / 3
    monkeypatch.setattr("benchmark.tuning.study.Budget.seconds_a_trial", 100.0)
    third = study.ask()
    assert third.seconds_left < 7, "what the others have taken so far is spent"
    assert study.ask() is None
    assert not study.is_over()
    assert str(os.getpid()) in study.waits_for()
    # A number that another process has by now: it began at another time.
    monkeypatch.setattr("benchmark.tuning.study._began", lambda pid: "another time")
    again = study.ask()
    assert again.settings == defaults == first.settings
    assert study.ask() is not None
    assert study.ask() is not None
    # Of another machine: given up once a trial cannot take longer.
    monkeypatch.setattr("benchmark.tuning.study.platform.node", lambda: "elsewhere")
    assert study.ask() is None
    monkeypatch.setattr("benchmark.tuning.study._elapsed", lambda trial: 1000.0)
    monkeypatch.setattr("benchmark.tuning.study._seconds", lambda trial: 0.0)
    assert study.ask() is not None


def test_workers_end_with_a_parent_that_was_killed(cache, tmp_path):
    command = _command(tmp_path, "tune", f"{HERE}:Hangs", "--trials", "3", "--workers", "1", "--seconds", "400")
    process = subprocess.Popen(command, cwd=ROOT, env=_environment(cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    journal = tmp_path / "tuning" / "user-rating" / "ml-latest-small" / f"{HERE}:Hangs-seed-4.journal"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not journal.exists() or journal.read_text().count("owner") < 2):
        time.sleep(0.1)
    workers = [pid for pid in children.read_text().split() if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert workers
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.2)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_folder_that_cannot_be_is_one_sentence(cache, tmp_path):
    (tmp_path / "file").write_text("")
    done = _do(cache, tmp_path / "file", "tune", "bias", code=1)
    assert done.stderr == f"benchmark: cannot make the folder '{tmp_path / 'file'}' (File exists); give another --out\n"


def test_rows_of_a_preset_run_as_their_paper_had_them(whole, tmp_path):
    """Also where a tuned file lies about: its figure is printed beside what was published of another setting."""
    out, _ = whole
    text = tuned.path(out / "tuned", "user-rating", "ml-latest-small", POOR).read_text()
    board = (boards.boards_folder() / "user-rating.toml").read_text().replace('name = "user-rating"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(
        board.replace("[datasets.ml-latest-small]", '[[rows]]\nmethod = "bias"\n\n[datasets.ml-latest-small]')
    )
    file = tuned.path(tmp_path / "tuned", "mine", "ml-latest-small", "bias")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert "entity_damping = " in text
    made = plan.make([str(tmp_path / "mine.toml")], ["ml-latest-small"], None, None, "cpu", None, [tmp_path / "tuned"])
    assert {cell.identity.config["entity_damping"] for cell in made.cells if cell.entry.name == "bias"} == {5.0}


def test_every_field_that_is_searched_moves_a_score(oracle):
    """A field that changes nothing would cost a method its share of the trials."""
    dead = {}
    for name in METHODS:
        distributions, _ = space(entry(name))
        alive = set()
        for goal in ("ranking", "rating"):
            split = oracle("interaction", goal, name)
            luck = torch.Generator().manual_seed(0)
            known = replace(Features.empty(split.world.n_entities), dense=torch.randn(split.world.n_entities, 2, generator=luck))
            world = replace(split.world, entity_features=known)
            if build(entry(name)).unsupported(world):
                continue
            short = {
                field: 4 for field in ("steps", "base_steps", "rounds") if hasattr(build(entry(name)), field) and field not in distributions
            }
            short |= {"evaluate_every": 2} if hasattr(build(entry(name)), "evaluate_every") else {}

            def answer(changes, name=name, world=world, split=split, short=short):
                learner = build(entry(name, {**short, **changes})).fit(world, 0, validator(replace(split, world=world)))
                return scores(learner, split.test.support(5))

            plain = answer({})
            for field, one in distributions.items():
                values = one.choices if isinstance(one, optuna.distributions.CategoricalDistribution) else (one.low, one.high)
                if field not in alive and any(not torch.equal(answer({field: value}), plain) for value in values):
                    alive.add(field)
            dead[name] = set(distributions) - alive
    assert {name: fields for name, fields in dead.items() if fields} == {}


def test_the_default_stands_where_nothing_beat_it(tmp_path):
    distributions, defaults = space(entry("bias"))
    study = Study(tmp_path / "one.journal", "one", distributions, defaults, Budget(3, 100.0))
    while (trial := study.ask()) is not None:
        study.tell(trial, 1.0 if trial.settings == defaults else 0.0, 0.1)
    assert study.is_over()
    found = study.found(0, "", (), "")
    assert (found.settings, found.default_score, found.best_score, found.trials) == ({}, 1.0, 1.0, 3)
