"""Speed tables: one a machine, dashes for what was not measured, marks for what deserves less trust."""

from __future__ import annotations

import random

import pytest

from benchmark.reporting.speed import short, speed_page, speed_tables, speed_text
from tests.records.make import record
from tests.records.make_speed import LAPTOP, SERVER, speed_record


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_table_holds_what_was_measured():
    records = [speed_record("slow", 30.0), speed_record("quick", 0.25)]
    (table,) = speed_tables(records, [record("slow"), record("quick")])
    lines = speed_page(table)
    assert lines[0] == "### Speed on A &#124; CPU, 2 cores, 23.5 GiB, 1 thread, torch 2"
    rows = _rows("\n".join(lines))
    assert rows[2] == ["quick", "0.0250", "0.0500", "0.0625", "0.500", "0.250", "0.500", "0.750", "0.500", "1,000"]
    assert rows[3][:2] == ["slow", "3.00"], "the fastest to adapt and rank comes first"
    assert rows[6] == ["quick", "136", "324,271", "2.00", "2,000", "77", "—", "bit-exact"], "3,000 tasks in 2 s less .5 s of validation"
    assert "A | CPU" in speed_text(table)
    assert "Noisy" not in speed_text(table)


def test_two_machines_make_two_tables():
    measured = speed_record("bias", 1.0, SERVER, device_bytes=3 << 20, serve_device_bytes=5 << 20, joules=0.002)
    made = speed_tables([speed_record(), measured], [record()])
    assert sorted(("gpu" in table.machine) for table in made) == [False, True]
    pages = {("gpu" in table.machine): "\n".join(speed_page(table)) for table in made}
    assert "### Speed on A GPU, 80.0 GiB, CUDA 12, A &#124; CPU" in pages[True]
    assert _rows(pages[True])[5] == ["bias", "136", "324,271", "2.00", "2,000", "77", "—", "3", "5", "2.00", "bit-exact"]
    assert "device" not in pages[False], "no column of a GPU where none ran"


def test_what_was_not_measured_is_a_dash():
    (table,) = speed_tables([speed_record(train_tasks=0, host_bytes=None, agreement="", throughput={})], [record()])
    assert _rows("\n".join(speed_page(table)))[5] == ["bias", "136", "324,271", "2.00", "—", "—", "—", "—"]


def test_noise_failures_notes_and_stale_records_are_said():
    records = [
        speed_record("noisy", noise=("other work used 1.0 cores",)),
        speed_record("noted", notes=("out of device memory with 1,024 entities at once: measured with 512",)),
        speed_record("broken", status="failed", reason="it remembers"),
        speed_record("edited").model_copy(update={"identity": record("edited", config={"rate": 2}).identity}),
        speed_record("unknown"),
    ]
    (table,) = speed_tables(records, [record(name) for name in ("noisy", "noted", "broken", "edited")])
    text = speed_text(table)
    assert "Noisy: 1 of 2 rows" in text
    assert "\nnoisy ~" in text
    assert "noisy: other work used 1.0 cores" in text
    assert "noted out of device memory with 1,024 entities at once: measured with 512" in text
    assert "broken failed: it remembers" in text
    assert "edited measured with other settings or code than its accuracy" in text
    assert "unknown" not in text, "a speed without an accuracy is in no table"


def test_the_order_of_records_changes_nothing():
    records = [speed_record(f"m{i}", 1.0 + i % 3, machine) for i in range(8) for machine in (LAPTOP, SERVER)]
    cells = [record(f"m{i}") for i in range(8)]
    once = [speed_page(table) for table in speed_tables(records, cells)]
    random.Random(0).shuffle(records)
    assert once == [speed_page(table) for table in speed_tables(records, cells[::-1])]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0.0, "0"),
        (0.016927, "0.0169"),
        (1.0, "1.00"),
        (99.96, "100"),
        (1066423.9, "1,070,000"),
        (12.345, "12.3"),
        (float("nan"), "—"),
    ],
)
def test_three_digits_that_count(value, shown):
    assert short(value) == shown
