"""What NVML says of the GPU that torch uses: clocks, load, throttling, energy.

NVML comes with the driver; its Python side is the optional package `nvidia-ml-py`. Where either is
missing every answer is None, and the tables show a dash.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


@cache
def _device() -> tuple[Any, Any] | None:
    """(the module, the handle of torch's GPU), or None."""
    try:
        import pynvml

        pynvml.nvmlInit()
        name = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(name.encode())
    except Exception:  # no package, no driver, or no right to ask: each means that nothing can be said
        return None


def _ask(question: str, *more: Any) -> Any:
    found = _device()
    if found is None:
        return None
    try:
        return getattr(found[0], question)(found[1], *more)
    except Exception:  # not every GPU answers every question
        return None


def joules() -> float | None:
    """Energy since the driver was loaded."""
    millijoules = _ask("nvmlDeviceGetTotalEnergyConsumption")
    return None if millijoules is None else millijoules / 1e3


def driver() -> str | None:
    """The driver's version."""
    found = _device()
    return None if found is None else str(found[0].nvmlSystemGetDriverVersion())


def condition() -> dict[str, float | str]:
    """Clocks in MHz, degrees Celsius, watts, and why the GPU is slowed down, as far as it tells."""
    asked = {
        "gpu_mhz": _ask("nvmlDeviceGetClockInfo", 1),  # NVML_CLOCK_SM
        "gpu_memory_mhz": _ask("nvmlDeviceGetClockInfo", 2),  # NVML_CLOCK_MEM
        "gpu_celsius": _ask("nvmlDeviceGetTemperature", 0),  # NVML_TEMPERATURE_GPU
        "gpu_milliwatts": _ask("nvmlDeviceGetPowerUsage"),
        "gpu_throttle_reasons": _ask("nvmlDeviceGetCurrentClocksThrottleReasons"),
    }
    return {name: value for name, value in asked.items() if value is not None}


def load() -> dict[str, float | str]:
    """For how much of the last second the GPU was busy, in percent."""
    found = _ask("nvmlDeviceGetUtilizationRates")
    return {} if found is None else {"gpu_busy_percent": found.gpu}
