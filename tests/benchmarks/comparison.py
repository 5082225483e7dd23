"""This run beside the last saved one: a table, and what got slower.

What is compared is the ratio to the slow reference, which took turns with the fast form: absolute times move with the load of
the machine, and a load hits both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

REGRESSION = 0.2  # of the ratio
HEAD = ("benchmark", "median", "reference", "its median", "ratio", "saved ratio", "change")
NOTHING_SAVED = "no saved run to compare with: this one is saved"


@dataclass(frozen=True)
class Timing:
    """One benchmark beside its reference; seconds are medians."""

    title: str
    seconds: float
    reference: str
    reference_seconds: float

    @property
    def ratio(self) -> float:
        return self.reference_seconds / self.seconds


def machine(info: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells machines apart in pytest-benchmark's `machine_info`: not the name, which a container changes at every start."""
    cpu = info.get("cpu", {})
    return info.get("machine"), cpu.get("brand_raw"), cpu.get("count")


def last_saved(runs: Iterable[Mapping[str, Any]], here: Mapping[str, Any]) -> dict[str, float]:
    """Each benchmark's ratio in the last of the saved `runs`, oldest first, in which this kind of machine measured it."""
    found = {}
    for run in runs:
        if machine(run.get("machine_info", {})) == machine(here):
            found |= {one["fullname"]: one["extra_info"]["ratio"] for one in run["benchmarks"] if "ratio" in one.get("extra_info", {})}
    return found


def table(now: Mapping[str, Timing], saved: Mapping[str, float]) -> str:
    """A line a benchmark; a dash where nothing was saved."""
    lines = []
    for name, one in now.items():
        before = saved.get(name)
        past = ("-", "-") if before is None else (times(before), f"{one.ratio / before - 1:+.0%}")
        lines.append((one.title, written(one.seconds), one.reference, written(one.reference_seconds), times(one.ratio), *past))
    return tabulate(lines, HEAD, disable_numparse=True, colalign=("left", "right", "left", "right", "right", "right", "right"))


def verdict(now: Mapping[str, Timing], saved: Mapping[str, float]) -> list[str]:
    """A line for each benchmark whose ratio fell by more than REGRESSION."""
    both = [name for name in now if name in saved]
    if not both:
        return [NOTHING_SAVED]
    found = [
        f"REGRESSION {now[name].title}, against {now[name].reference}: {times(saved[name])} was saved, now {times(now[name].ratio)} "
        f"({now[name].ratio / saved[name] - 1:+.0%})"
        for name in both
        if now[name].ratio < saved[name] * (1 - REGRESSION)
    ]
    return found or [f"no ratio fell by more than {REGRESSION:.0%} since the saved run ({len(both)} compared)"]


def written(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"
