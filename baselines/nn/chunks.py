"""How a batch becomes less work: so many tasks to score at once, runs of like support length, each partner once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.contract import State, Support, waits
from benchmark.protocol.tasks import Episode

# Activations held at once. On a CPU more than the cache holds costs three times the time (measured: 64
# units a partner, 9,742 partners: 0.23 s with 1 M, 0.29 s with 2 M, 0.90 s with 16 M); a GPU wants large launches.
ON_CPU, ON_GPU = 1_500_000, 64_000_000


def chunks(n_tasks: int, numbers_a_task: int, device: torch.device) -> Iterator[slice]:
    """Runs of tasks whose activations are a good size for the device; at least one run, be it empty."""
    size = max(1, (ON_CPU if device.type == "cpu" else ON_GPU) // max(1, numbers_a_task))
    for start in range(0, max(1, n_tasks), size):
        yield slice(start, start + size)


def in_length_order(mask: Tensor, numbers_a_row: int) -> Iterator[tuple[Tensor | slice, int]]:
    """Runs of tasks of like support length by `mask` [T, K]: which tasks, and the columns that their rows stand in.

    `numbers_a_row` activations are held for each row, padding included, of so many tasks at once that they
    fit. A few long histories would otherwise pad all the others, to ten times the work. Lengths are read on the
    host, for which a GPU would have to wait: it takes the tasks as they come.
    """
    tasks, columns = mask.shape
    length = None if waits(mask) else lengths(mask)
    if length is None or tasks < 2 or bool((length == length[0]).all()):
        shown = columns if length is None or not tasks else max(1, int(length[0]))
        yield from ((run, shown) for run in chunks(tasks, shown * numbers_a_row, mask.device))
        return
    length, order = length.sort(stable=True)
    longest, start = length.clamp(min=1).tolist(), 0
    for stop in range(1, tasks + 1):
        if stop == tasks or (stop + 1 - start) * longest[stop] * numbers_a_row > ON_CPU:
            yield order[start:stop], longest[stop - 1]
            start = stop


def lengths(mask: Tensor) -> Tensor:
    """Columns up to the last row that is there: [T] int64 of a mask [T, K]. Rows of a source domain may end before the target's begin."""
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(1)


def adapted_in_runs(adapt: Callable[[Support], State], support: Support, numbers_a_row: int) -> State:
    """`adapt` of all tasks, in runs of like support length and of so many at once that their activations fit."""
    runs, parts = [], []
    for run, longest in in_length_order(support.mask, numbers_a_row):
        runs.append(run)
        parts.append(adapt(first_rows(support[run], longest)))
    if len(parts) == 1 and isinstance(runs[0], slice):
        return parts[0]
    state = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if isinstance(runs[0], slice):
        return state
    back = torch.cat([run for run in runs if isinstance(run, Tensor)]).argsort()
    return {name: value[back] for name, value in state.items()}


def first_rows(support: Support, longest: int) -> Support:
    """With the first `longest` columns alone."""
    columns = (support.partner, support.rating, support.time, support.mask)
    return Support(support.entity, *(column[:, :longest] for column in columns))


TASKS_A_RUN, MOST_RUNS = 32, 8  # too short runs cost launches


def by_length(episode: Episode) -> tuple[Episode, list[Episode]]:
    """The tasks sorted by the length of their support, and the same in runs, each trimmed to its longest.

    Padding is otherwise half of the work. Lengths are read on the host, so that a GPU, which would wait
    for it and has room for padding, gets one run.
    """
    length = lengths(episode.support.mask)
    n = max(2, min(MOST_RUNS, len(length) // TASKS_A_RUN))
    if waits(length) or len(length) < 2 * n:
        return episode, [episode]
    length, order = length.sort(stable=True)
    episode, size = episode[order], -(-len(order) // n)
    longest = length.tolist()
    starts = range(0, len(longest), size)
    return episode, [trimmed(episode[at : at + size], max(1, longest[min(at + size, len(longest)) - 1])) for at in starts]


def trimmed(episode: Episode, longest: int) -> Episode:
    """With the first `longest` columns of the support alone."""
    return replace(episode, support=first_rows(episode.support, longest))


def once(partner: Tensor, n_partners: int) -> tuple[Tensor, Tensor]:
    """The distinct partners [m] of a batch, and the place of each of `partner` [...] among them.

    A GPU, which would wait for their count, gets every partner.
    """
    if waits(partner):
        return torch.arange(n_partners, device=partner.device), partner
    met = torch.zeros(n_partners, dtype=torch.bool).index_fill_(0, partner.flatten(), True)
    return met.nonzero().flatten(), (met.cumsum(0) - 1)[partner]
