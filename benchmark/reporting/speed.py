"""Speed tables: one a board, data set and machine; two machines never share one.

Pure, as every rendering: no clock, no environment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from benchmark.records.schema import CellRecord
from benchmark.records.speed import Latency, SpeedRecord
from benchmark.reporting.markdown import DASH, plain, printable

MIB = 2**20
NAMES = {
    "cores": "{} cores",
    "memory_gib": "{} GiB",
    "threads": "{} thread",
    "torch": "torch {}",
    "gpu_memory_gib": "{} GiB",
    "cuda": "CUDA {}",
}


@dataclass(frozen=True)
class SpeedTable:
    """What one machine measured of one board and data set."""

    board: str
    dataset: str
    board_sha256: str
    machine: Mapping[str, str | int | float]
    rows: list[SpeedRecord]  # the fastest to adapt and rank first
    notes: list[tuple[str, str]]  # (method, why its figures are missing or deserve less trust)

    @property
    def noisy(self) -> bool:
        return any(row.noise for row in self.rows)


def speed_tables(records: Iterable[SpeedRecord], cells: Iterable[CellRecord]) -> list[SpeedTable]:
    """A table for each board, data set and machine, sorted by name.

    A record of other settings or other code than its accuracy cell has says nothing of that row, and is left out with a note.
    """
    present = {cell.key: cell for cell in cells if cell.identity.seed_index == 0}
    groups: dict[tuple[str, ...], list[SpeedRecord]] = {}
    for record in sorted(records, key=lambda record: (record.key, record.machine_id)):
        cell = present.get(record.key)
        if cell is not None and cell.identity.board_sha256 == record.identity.board_sha256:
            one = record.identity
            groups.setdefault((one.board, one.dataset, one.board_sha256, record.machine_id), []).append(record)
    return [_table(group, present) for _, group in sorted(groups.items())]


def _table(group: list[SpeedRecord], present: Mapping[Any, CellRecord]) -> SpeedTable:
    rows, notes = [], []
    for record in group:
        here, there = record.identity, present[record.key].identity
        if record.status == "failed":
            notes.append((here.method, f"failed: {record.reason}"))
        elif (here.config, here.code_sha256, here.fingerprint) != (there.config, there.code_sha256, there.fingerprint):
            notes.append((here.method, "measured with other settings or code than its accuracy; run its board again with --speed"))
        else:
            rows.append(record)
            notes += [(here.method, note) for note in record.notes]
            notes += [(here.method, f"noisy: {', '.join(record.noise)}")] if record.noise else []
    rows.sort(key=lambda row: (row.adapt_and_rank_ms.p50 if row.adapt_and_rank_ms else math.inf, row.identity.method))
    one = group[0]
    return SpeedTable(one.identity.board, one.identity.dataset, one.identity.board_sha256, one.machine, rows, notes)


def speed_page(table: SpeedTable) -> list[str]:
    """The lines of a page's section."""
    lines = [f"### Speed on {plain(machine_name(table))}", "", *(f"- {line}" for line in _facts(table)), ""]
    lines += [_latencies(table, "pipe"), "", _costs(table, "pipe"), ""]
    return lines + [f"- `{plain(method)}` {plain(note)}" for method, note in table.notes]


def speed_text(table: SpeedTable) -> str:
    """One table for a terminal."""
    lines = [f"{table.board} on {table.dataset}: speed on {printable(machine_name(table))}", *(f"  {line}" for line in _facts(table)), ""]
    lines += [_latencies(table, "simple"), "", _costs(table, "simple")]
    lines += [""] * bool(table.notes) + [f"  {printable(method)} {printable(note)}" for method, note in table.notes]
    return "\n".join(lines)


def machine_name(table: SpeedTable) -> str:
    """`AMD EPYC, 2 cores, 23.5 GiB, 1 thread, torch 2.13.0+cpu`, and the GPU first where there is one."""
    facts = {name: NAMES.get(name, "{}").format(value) for name, value in table.machine.items() if name != "system"}
    order = ["gpu", "gpu_memory_gib", "driver", "cuda", "cpu", "cores", "memory_gib", "threads", "torch"]
    return ", ".join(facts[name] for name in order if name in facts)


def _facts(table: SpeedTable) -> list[str]:
    if not table.rows:
        return ["No method was measured."]
    one = table.rows[0]
    lines = [
        f"One entity shows {one.shots} ratings; {one.n_partners:,} partners are ranked. Medians and percentiles of {one.repeats} calls "
        "after a warm-up on made-up tasks; supports are drawn anew for each call.",
        f"x: times `{one.reference}`, which takes turns with each method. Entities a second: adaptation alone, so many at once.",
        "again: how the fit of this measurement agrees with the accuracy cell, made in another process.",
    ]
    if table.noisy:
        n = sum(bool(row.noise) for row in table.rows)
        lines.append(f"Noisy: {n} of {len(table.rows)} rows, marked with ~, were measured on a machine that was not quiet; trust x more.")
    return lines


def _latencies(table: SpeedTable, form: str) -> str:
    batches = sorted({batch for row in table.rows for batch in row.throughput})
    heads = ["method", "adapt ms p50", "p95", "p99", "x", "adapt + rank ms p50", "p95", "p99", "x"]
    device = any(row.adapt_and_rank_ms and row.adapt_and_rank_ms.device_p50 is not None for row in table.rows)
    heads += ["on device p50"] * device + [f"entities/s at {batch:,}" for batch in batches]
    rows = []
    for row in table.rows:
        line = [_name(row, form), *_latency(row.adapt_ms), *_latency(row.adapt_and_rank_ms)]
        line += [short(row.adapt_and_rank_ms.device_p50 if row.adapt_and_rank_ms else None)] * device
        rows.append(line + [short(row.throughput[batch].entities_per_second if batch in row.throughput else None) for batch in batches])
    return _grid(rows, heads, form)


def _latency(one: Latency | None) -> list[str]:
    return [DASH] * 4 if one is None else [short(one.p50), short(one.p95), short(one.p99), short(one.ratio)]


def _costs(table: SpeedTable, form: str) -> str:
    heads = ["method", "state bytes an entity", "parameters", "fit s", "train tasks/s", "peak host MiB, fit", "serving"]
    device = any(row.device_bytes is not None for row in table.rows)
    energy = any(row.joules is not None for row in table.rows)
    heads += ["peak device MiB, fit", "serving"] * device + ["mJ an entity"] * energy + ["again"]
    rows = []
    for row in table.rows:
        line = [_name(row, form), short(row.state_bytes), f"{row.parameters:,}", short(row.fit_seconds), short(row.train_tasks_per_second)]
        line += [_mib(row.host_bytes), _mib(row.serve_host_bytes)] + [_mib(row.device_bytes), _mib(row.serve_device_bytes)] * device
        line += [short(None if row.joules is None else 1e3 * row.joules)] * energy
        rows.append([*line, row.agreement or DASH])
    return _grid(rows, heads, form)


def _grid(rows: Sequence[Sequence[str]], heads: list[str], form: str) -> str:
    align = ["left"] + ["right"] * (len(heads) - 1)
    return tabulate(rows, heads, tablefmt=form, disable_numparse=True, colalign=align) if rows else ""


def _name(row: SpeedRecord, form: str) -> str:
    method = row.identity.method
    return (plain(method) if form == "pipe" else printable(method)) + (" ~" if row.noise else "")


def _mib(size: int | None) -> str:
    return DASH if size is None else f"{size / MIB:,.0f}"


def short(value: float | None) -> str:
    """Three digits that count, without an exponent; a dash for what was not measured."""
    if value is None or math.isnan(value):
        return DASH
    if value == 0:
        return "0"
    value = float(f"{value:.2e}")
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
