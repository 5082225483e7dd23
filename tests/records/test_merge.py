"""Folders of several machines become one: the same once, a contradiction refused by name, nothing half."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pytest

from benchmark.cli import main
from benchmark.errors import BenchmarkError, UsageError
from benchmark.records.merge import merge
from benchmark.records.schema import SCHEMA_VERSION, RunFacts
from benchmark.records.speed import SpeedStore
from benchmark.records.store import CellStore
from tests.records.make import record
from tests.records.make_speed import LAPTOP, SERVER, speed_record

LABEL = "user-rating/toy/bias/seed-0"


def _rows(*values: float) -> pa.Table:
    return pa.table({"task": [0, 1] * 3, "k": [0, 0, 1, 1, 5, 5], "mae": values or [0.5, 0.25] * 3})


@pytest.fixture
def stores(tmp_path):
    """The folders of two machines."""
    return CellStore(tmp_path / "a"), CellStore(tmp_path / "b")


def _merge(tmp_path, *names):
    return merge([tmp_path / name for name in names or ("a", "b")], tmp_path / "out")


def _files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and "locks" not in p.parts}


def test_what_two_machines_made_lies_in_one_folder(tmp_path, stores):
    one, two = stores
    one.write(record(), _rows(), RunFacts(seconds=1.0, machine={"cpu": "A"}))
    two.write(record(), _rows(), RunFacts(seconds=2.0, machine={"cpu": "B"}))
    one.write(record("maml"), _rows())
    two.write(record("bias", 1), _rows())
    two.write(record("melu", status="unsupported", reason="no content"), None)
    SpeedStore(one.root).write(speed_record(machine=LAPTOP))
    SpeedStore(two.root).write(speed_record(machine=SERVER))
    (line,) = _merge(tmp_path)
    assert line == f"{tmp_path / 'out'}: 4 cells and 2 speed records, 6 of them new from 2 folders, 1 found more than once and the same"
    out = CellStore(tmp_path / "out")
    by_key = {cell.key: cell for cell in [*one.records(), *two.records()]}
    assert out.records() == [by_key[key] for key in sorted(by_key)]
    assert out.facts(record().key).machine == {"cpu": "A"}, "what a run took is of one run"
    assert _files(tmp_path / "out").items() >= {name: content for name, content in _files(one.root).items() if "cells" in name}.items()
    assert len(SpeedStore(tmp_path / "out").records()) == 2
    before = _files(tmp_path / "out")
    (again,) = _merge(tmp_path)
    assert "0 of them new from 2 folders" in again
    assert _files(tmp_path / "out") == before


def test_out_may_hold_cells_before_and_they_count(tmp_path, stores):
    one, two = stores
    one.write(record("maml"), _rows())
    two.write(record(), _rows())
    CellStore(tmp_path / "out").write(record(), _rows())
    assert "2 cells and 0 speed records, 1 of them new" in _merge(tmp_path)[0]
    CellStore(tmp_path / "out").write(record(), _rows(*[0.75] * 6))
    with pytest.raises(BenchmarkError, match=f"{LABEL}: {tmp_path / 'out'} and {tmp_path / 'b'} differ in mae of task 0 at k=0"):
        _merge(tmp_path)


@pytest.mark.parametrize(
    ("other", "rows", "sentence"),
    [
        ({"code_sha256": "e" * 64}, (), "identity.code_sha256 (cccccccccccc... and eeeeeeeeeeee...)"),
        (
            {"torch": "3", "config": {"rate": 0.1}},
            (),
            "identity.config ({} and nothing), identity.torch ('2' and '3'), identity.config.rate",
        ),
        ({"status": "unsupported", "reason": "no content"}, None, "status ('ok' and 'unsupported'), reason ('' and 'no content')"),
        ({}, (0.5, 0.25, 0.5, 0.75, 0.5, 0.25), "mae of task 1 at k=1 (0.25 and 0.75)"),
    ],
)
def test_a_conflict_is_named_and_nothing_is_written(tmp_path, stores, other, rows, sentence):
    one, two = stores
    one.write(record(), _rows())
    one.write(record("maml"), _rows())
    two.write(record(**other), None if rows is None else _rows(*rows))
    with pytest.raises(BenchmarkError) as refused:
        _merge(tmp_path)
    assert str(refused.value).startswith("1 conflict, and nothing was merged; ")
    assert f"{LABEL}: {one.root} and {two.root} differ in {sentence}" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_every_conflict_is_named_with_its_metric(tmp_path, stores):
    for store, value in zip(stores, (0.5, 0.25), strict=True):
        for method in ("bias", "maml"):
            facts = record().board.model_copy(update={"shots": (5,)})
            cell = record(method).model_copy(update={"board": facts, "summary": {"mae": {5: value}}})
            store.write(cell, pa.table({"task": [0, 1], "k": [5, 5], "mae": [value] * 2}))
    SpeedStore(stores[0].root).write(speed_record(ms=1.0))
    SpeedStore(stores[1].root).write(speed_record(ms=2.0))
    with pytest.raises(BenchmarkError) as refused:
        _merge(tmp_path)
    head, *lines = str(refused.value).splitlines()
    assert head.startswith("3 conflicts")
    assert [line.split(":")[0].strip() for line in lines][:2] == [LABEL, LABEL.replace("bias", "maml")]
    assert all("mae at k=5 (0.5 and 0.25)" in line for line in lines[:2])
    assert "speed on machine" in lines[2]
    assert "adapt_ms.p50 (0.1 and 0.2)" in lines[2]
    assert lines[2].endswith("more")


def test_ok_stands_above_a_failure_of_the_same_identity_only(tmp_path, stores):
    one, two = stores
    one.write(record(status="failed", reason="RuntimeError: out of memory"), None, RunFacts(traceback="..."))
    two.write(record(), _rows())
    said = _merge(tmp_path)
    assert said[0] == f"{LABEL}: ok in {two.root}, so its failure in {one.root} is left out"
    assert CellStore(tmp_path / "out").records() == two.records()
    one.write(record(status="failed", reason="it", torch="1"), None)
    with pytest.raises(BenchmarkError, match=r"identity\.torch"):
        _merge(tmp_path)


def test_a_failure_in_out_gives_way(tmp_path, stores):
    one, _ = stores
    one.write(record(), _rows())
    CellStore(tmp_path / "out").write(record(status="failed", reason="it"), None)
    assert len(_merge(tmp_path, "a")) == 2
    assert CellStore(tmp_path / "out").records() == one.records()


def test_torn_cells_are_counted_and_named(tmp_path, stores):
    one, two = stores
    for store in stores:
        store.write(record(), _rows())
        store.write(record("maml"), _rows())
    torn = [one.path(record().key), two.path(record("maml").key)]
    torn[0].write_bytes(b"{")
    torn[1].with_suffix(".parquet").unlink()
    said = _merge(tmp_path)
    assert said[0] == f"2 torn or unreadable, left out: {torn[0]}, {torn[1]}"
    assert "2 cells" in said[1]
    assert len(CellStore(tmp_path / "out").records()) == 2


def test_a_later_schema_is_refused_before_anything_is_written(tmp_path, stores):
    for store in stores:
        store.write(record(), _rows())
    path = stores[1].path(record().key)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(BenchmarkError, match="b/cells.*is a record of schema version .*; update the suite"):
        _merge(tmp_path)
    assert not (tmp_path / "out").exists()


def test_wrong_folders_are_one_sentence(tmp_path, stores):
    stores[0].write(record(), _rows())
    (tmp_path / "b").mkdir()
    with pytest.raises(UsageError, match="b' holds no finished cells; name folders that `run` was given as --out"):
        _merge(tmp_path)
    with pytest.raises(UsageError, match="nowhere' is no folder"):
        _merge(tmp_path, "a", "nowhere")
    with pytest.raises(UsageError, match="is both merged and --out"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "b" / ".." / "a")
    stores[1].write(record(), _rows())
    stores[1].path(record().key).write_bytes(b"")
    with pytest.raises(UsageError, match=r"b' holds no finished cells \(1 torn: .*seed-0\.json\)"):
        _merge(tmp_path)
    assert not (tmp_path / "out").exists()
    assert "1 cells and 0 speed records, 1 of them new from 1 folder" in _merge(tmp_path, "a", "a")[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_without_rights_is_one_sentence(tmp_path, stores):
    stores[0].write(record(), _rows())
    stores[0].root.chmod(0)
    try:
        with pytest.raises(UsageError, match="may not be read"):
            _merge(tmp_path, "a")
    finally:
        stores[0].root.chmod(0o755)


def test_the_verb(tmp_path, stores, capsys):
    stores[0].write(record(), _rows())
    assert main(["merge", str(tmp_path / "a"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith("1 of them new from 1 folder, 0 found more than once and the same\n")
    assert main(["merge", str(tmp_path / "b"), "--out", str(tmp_path / "out")]) == 2
    stores[1].write(record(), _rows(*[0.75] * 6))
    assert main(["merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "fresh")]) == 1
    assert f"benchmark: 1 conflict, and nothing was merged; find out which is right, remove the other and merge again:\n  {LABEL}" in (
        capsys.readouterr().err
    )
