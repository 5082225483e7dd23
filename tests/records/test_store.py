"""Cells are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest
from pydantic import ValidationError

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.files import write_atomic
from benchmark.records import store as store_module
from benchmark.records.schema import SCHEMA_VERSION, CellRecord, RunFacts
from benchmark.records.speed import SpeedStore
from benchmark.records.store import CellStore
from tests.records.make import record
from tests.records.make_speed import speed_record

ROWS = pa.table({"task": [0, 1] * 3, "k": [0, 0, 1, 1, 5, 5], "mae": [0.5, 0.25] * 3})


def test_a_cell_comes_back_as_it_was(tmp_path):
    store = CellStore(tmp_path)
    written = store.write(record(), ROWS)
    assert store.read(written.key) == written
    assert store.rows(written) == ROWS.to_pydict()
    assert store.records() == [written]


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
@pytest.mark.parametrize("damage", ["cut", "edit", "remove"])
def test_a_torn_cell_is_no_cell(tmp_path, suffix, damage):
    store = CellStore(tmp_path)
    written = store.write(record(), ROWS)
    path = store.path(written.key).with_suffix(suffix)
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-10])
    else:
        path.write_bytes(content.replace(b"seed_index", b"seed_indeX") if suffix == ".json" else content[:20] + b"!" + content[21:])
    assert store.read(written.key) is None
    assert store.records() == []


def test_a_cell_moved_to_anothers_place_is_no_cell(tmp_path):
    store = CellStore(tmp_path)
    written = store.write(record(), ROWS)
    other = store.path((*written.key[:2], "better_method", 0))
    other.parent.mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        store.path(written.key).with_suffix(suffix).rename(other.with_suffix(suffix))
    assert store.records() == []


@pytest.mark.parametrize("name", ["../../etc/x", "..", ".", "a/b", "a\\b", "x" * 40 + ":Y", "<b>|`", "\n"])
def test_no_name_leaves_the_folder(tmp_path, name):
    store = CellStore(tmp_path / "runs")
    path = store.path(("board", "data", name, 0))
    assert path.resolve().is_relative_to(tmp_path / "runs" / "cells" / "board" / "data")
    written = store.write(record(method=name), ROWS)
    assert store.records() == [written]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    store = CellStore(tmp_path)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(BenchmarkError, match=r"cannot write .*seed-0\.parquet \(No space left on device\); free some space"):
        store.write(record(), ROWS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomic(target, b"old")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_a_dead_writer_are_swept_and_a_living_ones_are_kept(tmp_path):
    store = CellStore(tmp_path)
    folder = store.path(record().key).parent
    folder.mkdir(parents=True)
    dead = subprocess.run([sys.executable, "-c", "from benchmark import files; print(files.part_prefix())"], capture_output=True, text=True)
    killed, mine = folder / f"{dead.stdout.strip()}x", folder / f"{files.part_prefix()}x"
    elsewhere, forgotten = folder / ".part-0badcafe-1-x", folder / ".part-0badcafe-1-y"
    for path in (killed, mine, elsewhere, forgotten):
        path.write_bytes(b"x")
    os.utime(forgotten, (1, 1))
    foreign = tmp_path / "notes" / ".part-keep"
    foreign.parent.mkdir()
    foreign.write_bytes(b"x")
    os.utime(foreign, (1, 1))
    store.sweep()
    assert set(folder.iterdir()) == {mine, elsewhere}
    assert foreign.exists(), "only the cells are swept"


@pytest.mark.parametrize("change", [{"n_tasks": 1}, {"summary": {"mae": {0: 0.4}}}])
def test_a_record_that_contradicts_its_rows_is_no_cell(tmp_path, change):
    store = CellStore(tmp_path)
    facts = record().board.model_copy(update={"shots": (0,)})
    honest = record().model_copy(update={"board": facts, "summary": {"mae": {0: 0.375}}})
    rows = ROWS.slice(0, 2)
    store.write(honest, rows)
    assert len(store.records()) == 1
    store.write(honest.model_copy(update=change), rows)
    assert store.records() == []


CHANGES = [{"status": "great"}, {"schema_version": SCHEMA_VERSION + 1}, {"n_tasks": -1}, {"surprise": 1}, {"rows_sha256": 3}]


@pytest.mark.parametrize("change", CHANGES)
def test_the_schema_refuses(change):
    with pytest.raises(ValidationError):
        CellRecord.model_validate(record().model_dump() | change)


def test_what_a_run_took_stands_apart_and_decides_nothing(tmp_path):
    one, two = CellStore(tmp_path / "one"), CellStore(tmp_path / "two")
    facts = RunFacts(seconds=3.0, fit_seconds=1.0, machine={"cpu": "A"}, traceback="File /home/a")
    written = one.write(record(), ROWS, facts)
    two.write(record(), ROWS, RunFacts(seconds=9.0, machine={"cpu": "B"}))
    for suffix in (".json", ".parquet"):
        assert one.path(written.key).with_suffix(suffix).read_bytes() == two.path(written.key).with_suffix(suffix).read_bytes()
    assert one.facts(written.key) == facts
    beside = one.path(written.key).with_suffix(".run.json")
    for damage in (b"{", b'{"schema_version": 9}'):
        beside.write_bytes(damage)
        assert (one.facts(written.key), one.records()) == (None, [written])
    beside.unlink()
    assert (one.facts(written.key), one.records()) == (None, [written])


def test_a_cell_that_is_there_has_what_its_run_took(tmp_path, monkeypatch):
    """Whenever the writer dies, there is no cell yet, or its facts are there."""
    order = []
    monkeypatch.setattr(store_module, "write_atomic", lambda path, content: order.append(path.name))
    CellStore(tmp_path).write(record(), ROWS, RunFacts())
    assert order == ["seed-0.run.json", "seed-0.parquet", "seed-0.json"]


def test_a_cell_is_forgotten_whole(tmp_path):
    store = CellStore(tmp_path)
    store.write(record(), ROWS, RunFacts())
    store.remove(record().key)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("beside", [{}, {"surprise": 1}])
def test_a_record_of_a_later_suite_is_refused_and_kept(tmp_path, beside):
    store = CellStore(tmp_path)
    store.write(record(), ROWS)
    path = store.path(record().key)
    later = json.dumps({**json.loads(path.read_bytes()), "schema_version": SCHEMA_VERSION + 1, **beside})
    path.write_text(later)
    sentence = rf"seed-0\.json is a record of schema version {SCHEMA_VERSION + 1}, and .* up to {SCHEMA_VERSION}: .*; update the suite"
    for read in (lambda: store.read(record().key), store.records):
        with pytest.raises(BenchmarkError, match=sentence):
            read()
    assert path.read_text() == later


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, "2", True, None])
def test_any_other_schema_is_no_cell(tmp_path, version):
    store = CellStore(tmp_path)
    store.write(record(), ROWS)
    path = store.path(record().key)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "schema_version": version}))
    assert store.read(record().key) is None


def test_a_speed_record_of_a_later_suite_is_refused(tmp_path):
    store = SpeedStore(tmp_path)
    one = store.write(speed_record())
    path = store.path(one.key, one.machine_id)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "schema_version": 2}))
    for read in (lambda: store.read(one.key, one.machine_id), store.records):
        with pytest.raises(BenchmarkError, match="is a record of schema version 2, and this suite reads versions up to 1"):
            read()
