"""Second-order MAML: tasks a second of the suite's form against a loop over tasks and a plain vmap.

    python -m tests.benchmarks.maml_throughput [folder with ml-1m.zip]

One thread; ML-1M users with 13 to 100 ratings, 10 of them asked about; embeddings of width 32, two hidden
layers of 64, one inner step, Adam on everything. `melu` reads 7 fields of partner and entity, `maml` an
embedding of each partner. A step is gradient and update. The forms
take turns on the same batches, so that a busy machine slows all of them; medians.
"""

from __future__ import annotations

import copy
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor

import benchmark
from baselines.gradient.maml import MAML
from baselines.gradient.melu import MeLU
from baselines.nn.gradient_model import GradientMethod, GradientModel
from benchmark.contract import Support, World
from benchmark.protocol.tasks import Episode, Histories
from tests.reference.maml import Batch, Content, Network, loop_loss, vmap_loss

QUERY, LEAST, MOST = 10, 13, 100
METHODS: dict[str, GradientMethod] = {"melu": MeLU(scale=0.3), "maml": MAML(hidden=(64, 64), inner_steps=1)}
ROUNDS = {32: 12, 256: 4}
REPEATS = {"loop": 1, "vmap": 5, "suite": 5}  # a fast step is repeated, so that each form gets about the same time


def episodes(world: World, n_tasks: int, n: int, seed: int = 0) -> list[Episode]:
    """`n` seeded batches of warm entities with LEAST to MOST rows; QUERY of them are asked, the others shown."""
    histories, luck = Histories(world.ratings, world.n_entities), torch.Generator().manual_seed(seed)
    able = torch.nonzero((histories.rows >= LEAST) & (histories.rows <= MOST)).flatten()
    found = []
    for _ in range(n):
        entity = able[torch.randint(len(able), (n_tasks,), generator=luck)]
        rows = histories.rows[entity, None]
        order = torch.rand(n_tasks, MOST, generator=luck).masked_fill(torch.arange(MOST) >= rows, 2.0).argsort(1)
        row = histories.offset[entity, None] + order * (order < rows)
        mask = (torch.arange(MOST) < rows)[:, QUERY:]
        partner, rating = histories.partner[row], histories.rating[row]
        shown = Support(entity, partner[:, QUERY:] * mask, rating[:, QUERY:] * mask, partner[:, QUERY:] * 0, mask)
        asked = slice(0, QUERY)
        found.append(Episode(shown, shown.partner, partner[:, asked], rating[:, asked], torch.ones_like(mask[:, asked])))
    return found


def batch(model: GradientModel, episode: Episode) -> Batch:
    """An episode as the references read it."""
    support, asked, bias = episode.support, episode.query_partner, model.bias
    own = bias.entity(support)
    y = bias.residual(support) - own
    widest = int(support.mask.sum(1).max())
    shown = (support.partner[:, :widest], y[:, :widest], support.mask[:, :widest])
    return Batch(support.entity, *shown, asked, episode.query_rating - bias.predict(own, asked))


class Nothing(torch.nn.Module):
    """What is known of entities where nothing is."""

    def forward(self, rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), 0)


def forms(method: GradientMethod, model: GradientModel) -> dict[str, tuple[Callable[[Episode], Tensor], list[torch.nn.Parameter]]]:
    """Each form's loss and what it trains; every one has a copy of the same start."""
    rate = method.rating_inner_rate
    found = {}
    for name, loss in (("loop", loop_loss), ("vmap", vmap_loss)):
        own = copy.deepcopy(model)
        content = Content(Network(tuple(own.theta)), own.encoder, getattr(own, "entity", Nothing()), own.b)
        found[name] = (lambda episode, content=content, loss=loss: loss(content, batch(model, episode), rate), content.parameters())
    rule = method.rule(model)
    found["suite"] = (lambda episode: method.loss(model, rule, episode), list(model.parameters()))
    return found


def measure(data_dir: Path) -> list[list[str]]:
    """Rows of the table."""
    torch.set_num_threads(1)
    world = benchmark.load_board("user-rating", "ml-1m", data_dir=data_dir).world
    rows = []
    for (name_of_method, method), (n_tasks, rounds) in itertools.product(METHODS.items(), ROUNDS.items()):
        made = forms(method, method.model(world, 0))
        optimisers = {name: torch.optim.AdamW(parameters, lr=1e-3, fused=True) for name, (_, parameters) in made.items()}
        seconds: dict[str, list[float]] = {name: [] for name in made}
        for number, episode in enumerate(episodes(world, n_tasks, rounds + 1)):
            for name, (loss, _) in made.items():
                for _ in range(REPEATS[name]):
                    started = time.perf_counter()
                    optimisers[name].zero_grad()
                    loss(episode).backward()
                    optimisers[name].step()
                    if number:  # the first round warms up
                        seconds[name].append(time.perf_counter() - started)
        speed = {name: n_tasks / statistics.median(spent) for name, spent in seconds.items()}
        rows += [[name_of_method, str(n_tasks), name, f"{speed[name]:,.0f}", f"{speed[name] / speed['loop']:.1f}"] for name in made]
    return rows


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("COLDSTART_DATA", "."))
    print(tabulate(measure(folder), ["method", "tasks a step", "form", "tasks/s", "x loop"], disable_numparse=True))
