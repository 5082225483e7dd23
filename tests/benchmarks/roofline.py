"""How near a training step of second-order MAML comes to what the machine can do.

    python -m tests.benchmarks.roofline [folder with ml-1m.zip] [--device cuda]

Counts the multiply-adds of a step's matrix products (forward, inner gradient and outer backward) and the bytes that its operations
read and write, measures the machine's peaks (a large float32 product; a copy that no cache holds), and
sets the time that the slower of the two needs beside the time that the step takes. Bytes are counted operation by
operation, as if nothing stayed in a cache: the true floor may lie lower.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import benchmark
from benchmark.evaluation.clock import Clock, clock_of
from tests.benchmarks.test_inner_loops import episodes, training
from tests.reference.maml import METHODS, forms

ROUNDS = 9
TASKS = {"cpu": (32, 256, 1024), "cuda": (32, 256, 1024, 4096)}
VIEWS = ("view", "expand", "transpose", "t", "permute", "slice", "select", "unsqueeze", "squeeze", "detach", "alias", "_unsafe_view")


class Traffic(TorchDispatchMode):
    """Within `with Traffic() as seen:`, `seen.bytes` adds up what each operation reads and writes; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in VIEWS:
            self.bytes += sum(one.untyped_storage().nbytes() if _is_whole(one) else _size(one) for one in _tensors(args, found))
        return found


def _tensors(*where: Any) -> list[Tensor]:
    return [one for one in tree_leaves(where) if isinstance(one, Tensor)]


def _is_whole(one: Tensor) -> bool:
    """A tensor that is spread out from fewer numbers is read as often as the cache allows: its numbers count once."""
    return 0 in one.stride() and one.numel() > 0


def _size(one: Tensor) -> int:
    return one.numel() * one.element_size()


def median(clock: Clock, act: Any, *given: Any) -> float:
    """Seconds of one call, after two to warm up."""
    return statistics.median([clock.time(act, *given).seconds for _ in range(ROUNDS + 2)][2:])


def peaks(clock: Clock, device: str) -> tuple[float, float]:
    """(float32 operations, bytes) a second: a product of large squares, and a copy of 256 MiB, read and written."""
    n = 2048 if device == "cpu" else 8192
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)
    long = torch.rand(64 << 20, device=device)
    other = torch.empty_like(long)
    return 2 * n**3 / median(clock, torch.mm, a, b), 2 * _size(long) / median(clock, other.copy_, long)


def measure(data_dir: Path, device: str) -> list[list[str]]:
    """Rows of the table."""
    torch.set_num_threads(1)
    clock = clock_of(device)
    world = benchmark.load_board("user-rating", "ml-1m", data_dir=data_dir).world
    rows = []
    for name, method in METHODS.items():
        for n_tasks in TASKS[device]:
            loss, parameters = forms(method, method.model(world.to(device), 0))["suite"]
            step, (episode,) = training(loss, parameters), episodes(world, n_tasks, 1)
            episode = episode.to(device)
            step(episode)
            with FlopCounterMode(display=False) as counted, Traffic() as seen:
                step(episode)
            flops, moved = counted.get_total_flops(), seen.bytes
            most_flops, most_bytes = peaks(clock, device)
            floor, took = max(flops / most_flops, moved / most_bytes), median(clock, step, episode)
            bound = "products" if flops / most_flops > moved / most_bytes else "memory"
            cells = [f"{flops / n_tasks / 1e6:.2f}", f"{moved / n_tasks / 1e6:.2f}", f"{most_flops / 1e9:.0f}", f"{most_bytes / 1e9:.1f}"]
            cells += [bound, f"{n_tasks / floor:,.0f}", f"{n_tasks / took:,.0f}", f"{took / floor:.1f}x"]
            rows.append([name, f"{n_tasks:,}", *cells])
    return rows


HEADS = ["method", "tasks a step", "MFLOP a task", "MB a task", "peak GFLOP/s", "peak GB/s", "bound by"]
HEADS += ["floor, tasks/s", "reached", "x floor"]

if __name__ == "__main__":
    asked = argparse.ArgumentParser(description="MAML's training step beside the machine's peaks")
    asked.add_argument("data", nargs="?", type=Path, default=Path(os.environ.get("COLDSTART_DATA", ".")))
    asked.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = asked.parse_args()
    print(tabulate(measure(given.data, given.device), HEADS, disable_numparse=True))
