"""The catalogue: pins that do not move, every data set's counts, and what the data verbs say."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark import datasheet
from benchmark.cli import main
from benchmark.data import amazon_2023, columns, store
from benchmark.data.catalogue import SOURCES, source
from benchmark.data.dataset import Dataset
from benchmark.data.pins import Source
from benchmark.errors import DataError, UsageError

ROOT = Path(__file__).resolve().parent.parent.parent
# Boards' fingerprints and old records hold these.
PUBLISHED = {
    "ml-latest-small": "e5d425ad7f769067b950c741a15daa17ff0a6c29f78510f4f21f993cc283d7d1",
    "ml-100k": "fb901f3bf8dc1eb54937ab5285eaddad3c2c7a4830f0f34f2c891b75f3e19bdd",
    "ml-1m": "6be5810f572513c1f79d4d99993918fbb2d7327fa07b585d2363929881f1ee98",
    "ml-1m-melu": "6d14b3236eef22a8ca31009ca08d591fba0437b574235bf87faa836a14e7d918",
}
FETCHED = ("ml-25m", "ml-32m")  # too large to lie beside the tests
HERE = [name for name in SOURCES if name not in FETCHED]


def test_the_hashes_of_data_sets_do_not_move():
    assert {name: SOURCES[name].sha256 for name in PUBLISHED} == PUBLISHED


def test_every_entry_is_complete_and_its_own():
    every = [*SOURCES.values(), *map(source, amazon_2023.names())]
    for entry in every:
        assert entry.generated or entry.needs, entry.name
        assert entry.terms, entry.name
        assert entry.citation, entry.name
        assert entry.generated or entry.url or entry.home, entry.name
        assert entry.counts or entry.hub or entry.generated, entry.name
        hashes = [digest for digest in {**entry.members, **entry.files}.values() if digest]
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes), entry.name
        assert len(hashes) == len(entry.members) + len(entry.files) or entry.hub or entry.archive_md5, (
            f"{entry.name} has a file without a pin"
        )
    loaders = {(entry.loader, tuple(sorted(entry.files.items())), entry.sha256) for entry in every}
    assert len(loaders) == len(every)


@pytest.mark.data
@pytest.mark.parametrize("name", HERE)
def test_every_data_set_comes_out_with_its_counts(name, real_data, own_cache):
    entry = SOURCES[name]
    if not store.is_here(name, real_data):
        pytest.skip(f"needs {' and '.join(entry.needs)} under COLDSTART_DATA")
    loaded = store.load(name, real_data)
    store.check_counts(entry, loaded)
    assert loaded.name == name
    assert (loaded.sha256 == entry.sha256) == entry.pinned == (not entry.generated)
    assert (np.diff(loaded.user * len(loaded.items) + loaded.item) > 0).all(), "sorted by user and item, each pair once"
    assert set(np.unique(loaded.user)) == set(range(len(loaded.users)))
    if not name.startswith("ml-"):
        assert set(np.unique(loaded.item)) == set(range(len(loaded.items))), "the catalogue is what was rated"
    same(loaded, store.load(name, real_data))


def same(one: Dataset, other: Dataset) -> None:
    """Parsed and cached are one data set."""
    left, right = columns._columns(one), columns._columns(other)
    assert left.keys() == right.keys()
    for label in left:
        np.testing.assert_array_equal(left[label], right[label], label)
    for label in ("name", "sha256", "rating_range", "domains", *columns.PLAIN):
        assert getattr(one, label) == getattr(other, label), label
    for side, cached in ((one.users, other.users), (one.items, other.items)):
        assert side.text == cached.text
        assert side.words.vocabulary == cached.words.vocabulary


def test_a_loader_that_loses_a_row_is_found_out(own_cache, monkeypatch):
    monkeypatch.setitem(SOURCES, "ml-latest-small", replace(SOURCES["ml-latest-small"], counts=(100_837, 610, 9_742)))
    with pytest.raises(DataError, match=r"'ml-latest-small' came out as 100,836 rows .* the catalogue pins 100,837"):
        store.load("ml-latest-small")


def test_a_generated_data_set_needs_no_file(own_cache, monkeypatch, capsys):
    made = store.load("ml-latest-small")
    monkeypatch.setattr("benchmark.data.movielens.made_up", lambda files: replace(made, name="") if files == {} else None, raising=False)
    entry = Source(
        name="made-up",
        title="Made up",
        loader="benchmark.data.movielens:made_up",
        terms="none",
        citation="none",
        generated=True,
        revision="1",
    )
    monkeypatch.setitem(SOURCES, "made-up", entry)
    assert store.is_here("made-up")
    loaded = store.load("made-up")
    assert loaded.name == "made-up"
    monkeypatch.setattr("benchmark.data.movielens.made_up", lambda _: replace(made, rating=made.rating[::-1]))
    assert store.load("made-up").sha256 != loaded.sha256, "what no hash pins is known by what came out"
    monkeypatch.setattr("benchmark.data.movielens.made_up", lambda files: replace(made, name="") if files == {} else None)
    assert store.load("made-up").sha256 == loaded.sha256
    assert entry.sha256 != replace(entry, revision="2").sha256
    assert datasheet.where(entry, None) == "generated"
    assert main(["data", "verify", "made-up"]) == 0
    assert main(["data", "fetch", "made-up"]) == 0
    assert "there is nothing to fetch" in capsys.readouterr().out


def test_the_columns_depend_on_all_that_the_loader_imports():
    files = {path.name for path in columns._code("benchmark.data.amazon_sequences")}
    assert files == {"amazon_sequences.py", "amazon.py", "amazon_metadata.py", "reading.py", "checking.py", "dataset.py", "coding.py"}
    entry = SOURCES["ml-1m"]
    assert columns.key(entry, "benchmark.data.movielens") != columns.key(entry, "benchmark.data.movielens", "another file")


def test_an_unknown_name_is_met_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'ml-1m'"):
        source("ml-1n")
    with pytest.raises(UsageError, match="known: amazon-2023-all-beauty, .* did you mean 'amazon-2023-books'"):
        source("amazon-2023-bookss")


def test_the_verbs_about_data(own_cache, monkeypatch, capsys):
    monkeypatch.delenv("COLDSTART_DATA", raising=False)
    assert main(["data", "list"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"ml-latest-small +100,836 +610 +9,742  embedded", text)
    assert re.search(r"ml-25m .* not here; 262 MB to fetch", text)
    assert re.search(r"amazon-2018-fashion-5 .* not here; by hand from https://nijianmo.github.io/amazon", text)
    assert text.count("amazon-2023") == 2, "the collection is one line"
    assert main(["data", "info", "ml-latest-small"]) == 0
    text = capsys.readouterr().out
    for said in ("non-commercial", "Harper", "user-ranking, user-rating", "no repeats", "19 flags", "aa289ca83157595d"):
        assert said in text, said
    assert main(["data", "info", "amazon-2018-appliances-5"]) == 0
    text = capsys.readouterr().out
    assert "91 %" in text
    assert "2,094 repeats gone" in text
    assert main(["data", "verify"]) == 0
    embedded, *generated = capsys.readouterr().out.splitlines()
    assert embedded == "ml-latest-small: 3 files as published; 100,836 rows, 610 users, 9,742 items, no repeats"
    assert [line.split(";")[0] for line in generated] == ["synthetic-cross-domain: generated", "synthetic-drift: generated"]
    assert main(["data", "verify", "ml-1m"]) == 1
    assert "'ml-1m' is not here" in capsys.readouterr().err
    assert main(["data", "info", "ml-1n"]) == 2


def test_verify_finds_the_fault_behind_a_good_cache(own_cache, tmp_path, monkeypatch, capsys):
    store.load("ml-latest-small")
    whole = (store.EMBEDDED / "ml-latest-small.zip").read_bytes()
    (tmp_path / "ml-latest-small.zip").write_bytes(whole[: len(whole) // 2])
    assert main(["data", "verify", "--data-dir", str(tmp_path), "ml-latest-small"]) == 1
    assert "cannot be read as a zip" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["data", "list"]])
def test_an_answer_comes_at_once(arguments):
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "benchmark", *arguments], cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5, seconds
