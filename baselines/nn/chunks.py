"""How tasks are cut into runs: so many to score at once, and training tasks by the length of their support."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmark.contract import Support
from benchmark.protocol.tasks import Episode

# Activations held at once. On a CPU more than the cache holds costs three times the time (measured: 64
# units a partner, 9,742 partners: 0.23 s with 1 M, 0.29 s with 2 M, 0.90 s with 16 M); a GPU wants large launches.
ON_CPU, ON_GPU = 1_500_000, 64_000_000


def chunks(n_tasks: int, numbers_a_task: int, device: torch.device) -> Iterator[slice]:
    """Runs of tasks whose activations are a good size for the device; at least one run, be it empty."""
    size = max(1, (ON_CPU if device.type == "cpu" else ON_GPU) // max(1, numbers_a_task))
    for start in range(0, max(1, n_tasks), size):
        yield slice(start, start + size)


def by_length(episode: Episode, n: int) -> list[Episode]:
    """The tasks in `n` runs of like support length, each trimmed to its longest: padding is otherwise half of the work.

    Lengths are read on the host, so that a GPU, which would wait for it and has room for padding, gets one run.
    """
    support = episode.support
    if support.mask.is_cuda or len(support) < 2 * n:
        return [episode]
    order = support.mask.sum(1).argsort(stable=True)
    return [trimmed(episode[rows]) for rows in order.chunk(n)]


def trimmed(episode: Episode) -> Episode:
    """Without the columns of the support that no task has; one is kept."""
    support = episode.support
    shown = slice(0, max(1, int(support.mask.sum(1).max())))
    columns = (support.partner, support.rating, support.time, support.mask)
    return replace(episode, support=Support(support.entity, *(column[:, shown] for column in columns)))
