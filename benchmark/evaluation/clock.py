"""Clocks and meters of a device: what a piece of work takes, with all that it set going done."""

from __future__ import annotations

import ctypes
import gc
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmark.evaluation import nvml


@dataclass(frozen=True)
class Took:
    """Seconds of the host's clock, and of the device's own where it has one."""

    seconds: float
    device_seconds: float | None = None


class Clock:
    """The host's clock, on a device that works while the host waits; adds up what it has timed."""

    def __init__(self) -> None:
        self.spent_seconds = self._busy_seconds = 0.0

    def forget(self) -> None:
        """Begins to count anew."""
        self.spent_seconds = self._busy_seconds = 0.0

    def cores(self) -> float:
        """How many cores were busy for this process, on average over all that was timed."""
        return self._busy_seconds / max(self.spent_seconds, 1e-9)

    def wait(self) -> None:
        """Returns when the device has nothing left to do."""

    def time(self, act: Callable[..., object], *given: Any) -> Took:
        """Runs `act(*given)` on an idle device, and stops the clock when the device is idle again."""
        self.wait()
        busy, started = time.process_time(), time.perf_counter()
        act(*given)
        self.wait()
        return self._noted(busy, Took(time.perf_counter() - started))

    def _noted(self, busy: float, took: Took) -> Took:
        self._busy_seconds += time.process_time() - busy
        self.spent_seconds += took.seconds
        return took

    def joules(self) -> float | None:
        """The device's energy meter, where it has one."""
        return None


class CudaClock(Clock):
    """Waits for every stream of the GPU; CUDA events time the stream that is asked, beside the host's clock."""

    def wait(self) -> None:
        torch.cuda.synchronize()

    def time(self, act: Callable[..., object], *given: Any) -> Took:
        event = partial(torch.cuda.Event, enable_timing=True)
        begin, end = event(), event()
        self.wait()
        busy, started = time.process_time(), time.perf_counter()
        begin.record()
        act(*given)
        end.record()
        self.wait()
        return self._noted(busy, Took(time.perf_counter() - started, begin.elapsed_time(end) / 1e3))

    def joules(self) -> float | None:
        return nvml.joules()


def clock_of(device: torch.device | str) -> Clock:
    """The clock of a device."""
    return CudaClock() if torch.device(device).type == "cuda" else Clock()


class Memory:
    """Peak memory above what was held when this was made; None where the system does not say."""

    def __init__(self, device: torch.device | str) -> None:
        self._cuda = torch.device(device).type == "cuda"
        gc.collect()
        _give_back()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is now what is held
            self._start = _resident("VmRSS")
        except OSError:
            self._start = None
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._device_start = torch.cuda.memory_allocated()

    def host_bytes(self) -> int | None:
        """Of the process."""
        peak = _resident("VmHWM")
        return None if self._start is None or peak is None else max(0, peak - self._start)

    def device_bytes(self) -> int | None:
        """Of torch's allocator on the GPU."""
        return torch.cuda.max_memory_allocated() - self._device_start if self._cuda else None


def _resident(what: str) -> int | None:
    try:
        found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _give_back() -> None:
    """Freed memory goes back to the system: blocks that the last method left would hide what the next one takes."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # another C library keeps its own house
        return
