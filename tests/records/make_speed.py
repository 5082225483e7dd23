"""Speed records made by hand."""

from __future__ import annotations

from typing import Any

from benchmark.records.speed import Latency, SpeedRecord, Throughput, machine_id
from tests.records.make import record

LAPTOP = {"system": "Linux 6", "cpu": "A | CPU", "cores": 2, "memory_gib": 23.5, "threads": 1, "torch": "2"}
SERVER = {**LAPTOP, "gpu": "A GPU", "gpu_memory_gib": 80.0, "cuda": "12"}


def speed_record(method: str = "bias", ms: float = 1.0, machine: dict[str, Any] = LAPTOP, **fields: Any) -> SpeedRecord:
    """A record whose latencies are multiples of `ms`; keywords change its fields."""
    facts: dict[str, Any] = {
        "identity": record(method).identity,
        "status": "ok",
        "shots": 5,
        "n_partners": 9742,
        "repeats": 200,
        "reference": "bias",
        "fit_seconds": 2.0,
        "training_seconds": 1.5,
        "train_tasks": 3000,
        "adapt_ms": Latency(p50=ms / 10, p95=ms / 5, p99=ms / 4, reference_p50=0.05),
        "adapt_and_rank_ms": Latency(p50=ms, p95=2 * ms, p99=3 * ms, reference_p50=0.5),
        "throughput": {1: Throughput(entities_per_second=1000.0, reference=2000.0, at_once=1)},
        "state_bytes": 136.0,
        "parameters": 324271,
        "host_bytes": 77 << 20,
        "agreement": "bit-exact",
        "timing_sha256": "e" * 64,
        "machine": machine,
        "machine_id": machine_id(machine),
        "versions": {},
    }
    return SpeedRecord(**{**facts, **fields})
