"""How many tasks to score at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch

# Activations held at once. On a CPU more than the cache holds costs three times the time (measured: 64
# units a partner, 9,742 partners: 0.23 s with 1 M, 0.29 s with 2 M, 0.90 s with 16 M); a GPU wants large launches.
ON_CPU, ON_GPU = 1_500_000, 64_000_000


def chunks(n_tasks: int, numbers_a_task: int, device: torch.device) -> Iterator[slice]:
    """Runs of tasks whose activations are a good size for the device; at least one run, be it empty."""
    size = max(1, (ON_CPU if device.type == "cpu" else ON_GPU) // max(1, numbers_a_task))
    for start in range(0, max(1, n_tasks), size):
        yield slice(start, start + size)
