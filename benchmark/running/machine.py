"""The machine: what it is, how it is at the moment, and whether that was quiet enough for a timing."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch

from benchmark.evaluation import nvml
from benchmark.records.schema import Fact

THREADS = 1  # more threads sum in another order: one for every cell keeps numbers the same everywhere
OTHERS_CORES = 0.2  # busy with other work than ours, on average
SPREAD = 0.25  # of the reference: the middle half of its repeats over their median
SLOWER = 0.9  # of the clock before
OTHERS_BYTES = 2 << 30  # of the GPU's memory: more than an idle desktop and the contexts of our own processes hold
OTHERS_PERCENT = 5  # of the GPU's time, while we leave it idle
SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80  # NVML: power cap, hardware, heat (software, hardware), power brake
IDLE_SECONDS = 1.0  # NVML averages the load over up to a second


@cache
def machine(device: str) -> dict[str, Fact]:
    """What ran: enough to say whether two timings may stand in one table."""
    facts: dict[str, Fact] = {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "threads": THREADS,
        "torch": torch.__version__,
    }
    if device == "cuda":
        memory = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
        facts |= {"gpu": torch.cuda.get_device_name(), "gpu_memory_gib": memory, "cuda": str(torch.version.cuda)}
        facts |= {"driver": driver} if (driver := nvml.driver()) else {}
    return facts


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def condition(device: str) -> dict[str, Fact]:
    """How the machine is now; what it does not tell is left out."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    found: dict[str, Fact] = {
        "load_1min": round(os.getloadavg()[0], 2),
        "wall_seconds": time.monotonic(),
        "own_seconds": own.ru_utime + own.ru_stime,
    }
    found |= _processors()
    if device == "cuda":
        found |= nvml.condition()  # its clocks as the work has left them
        torch.cuda.synchronize()
        time.sleep(IDLE_SECONDS)
        found |= nvml.load()
        free, total = torch.cuda.mem_get_info()
        found["gpu_others_bytes"] = max(0, total - free - torch.cuda.memory_reserved())
    return found


def shared_gpu(found: Mapping[str, Fact]) -> str:
    """Who else seems to use the GPU, as a phrase; empty where nobody does, or no GPU was asked for."""
    held, busy = float(found.get("gpu_others_bytes", 0)), float(found.get("gpu_busy_percent", 0))
    said = []
    if held > OTHERS_BYTES:
        said.append(f"held {held / 2**30:.1f} GiB of it")
    if busy > OTHERS_PERCENT:
        said.append(f"kept it busy for {busy:.0f}% of the time")
    return f"another process used the GPU: it {' and '.join(said)}" if said else ""


def _processors() -> dict[str, Fact]:
    """Seconds that all processors were busy or taken away since the start, their clock, and how often heat slowed them."""
    found: dict[str, Fact] = {}
    try:
        ticks = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        user, nice, system, _, _, interrupts, soft, stolen = ticks
        per_second = os.sysconf("SC_CLK_TCK")
        found["busy_seconds"] = (user + nice + system + interrupts + soft) / per_second
        found["stolen_seconds"] = stolen / per_second
        clocks = [float(line.partition(":")[2]) for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("cpu MHz")]
        if clocks:
            found["cpu_mhz"] = round(sum(clocks) / len(clocks), 1)
        heat = [int(path.read_text()) for path in Path("/sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count")]
        if heat:
            found["cpu_throttled"] = sum(heat)
    except (OSError, ValueError):
        return found
    return found


def noise(before: Mapping[str, Fact], after: Mapping[str, Fact], spread: float) -> tuple[str, ...]:
    """Why timings between two conditions deserve less trust: a phrase each, none where the machine was quiet."""
    found = []
    wall = float(after["wall_seconds"]) - float(before["wall_seconds"])
    if "busy_seconds" in before and "busy_seconds" in after and wall > 0:
        busy, own = (float(after[name]) - float(before[name]) for name in ("busy_seconds", "own_seconds"))
        stolen = float(after["stolen_seconds"]) - float(before["stolen_seconds"])
        others = (busy - own + stolen) / wall
        if others > OTHERS_CORES:
            found.append(f"other work used {others:.1f} cores")
    if spread > SPREAD:
        found.append(f"the middle half of the reference's repeats spread over {spread:.0%} of their median")
    for clock in ("cpu_mhz", "gpu_mhz"):
        if float(after.get(clock, 0)) < SLOWER * float(before.get(clock, 0)):
            found.append(f"{clock} fell from {before[clock]} to {after[clock]}")
    if after.get("cpu_throttled", 0) != before.get("cpu_throttled", 0):
        found.append("the processor was throttled for heat")
    if int(after.get("gpu_throttle_reasons", 0)) & SLOWED:
        found.append(f"the GPU was throttled (reasons {int(after['gpu_throttle_reasons']):#x})")
    return (*found, shared) if (shared := shared_gpu(before) or shared_gpu(after)) else tuple(found)
