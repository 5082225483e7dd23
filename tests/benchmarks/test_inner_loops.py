"""Training steps of second-order MAML beside the loop over tasks of public code, and beside a plain vmap.

ML-1M users with 13 to 100 ratings, 10 of them asked about; embeddings of width 32, two hidden layers of 64, one inner step,
Adam on everything. `melu` reads 7 fields of partner and entity, `maml` an embedding of each partner. A step is gradient and
update.
"""

from __future__ import annotations

import itertools

import pytest
import torch

import benchmark as suite
from benchmark.contract import Support, World
from benchmark.protocol.tasks import Episode, Histories
from tests.reference.maml import METHODS, forms

pytestmark = pytest.mark.data
QUERY, LEAST, MOST = 10, 13, 100
TURNS = {32: 40, 256: 12}
REPEATS = {"loop": 1, "vmap": 1}
REFERENCES = {"loop": "loop over tasks, create_graph", "vmap": "vmap(grad)"}


@pytest.fixture(scope="module")
def world(real_data) -> World:
    return suite.load_board("user-rating", "ml-1m", data_dir=real_data).world


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


def training(loss, parameters):
    """A function that takes a training step on an episode and gives the loss, and the gradient of the offsets of the partners."""
    # A rate of 0 costs what any other does, and keeps both forms at the same weights, so that their last steps compare.
    optimiser = torch.optim.AdamW(parameters, lr=0.0, fused=True)
    b = max((one for one in parameters if one.dim() == 1), key=len)  # an offset a partner

    def step(episode):
        optimiser.zero_grad()
        value = loss(episode)
        value.backward()
        optimiser.step()
        return value.item(), b.grad

    return step


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("n_tasks", [32, 256])
@pytest.mark.parametrize("name", METHODS)
def test_step(beside, timed, world, name, n_tasks, reference):
    method = METHODS[name]
    made = forms(method, method.model(world, 0))
    batches = episodes(world, *((n_tasks, TURNS[n_tasks] + 1) if timed else (n_tasks // 8, 1)))
    ours, theirs = training(*made["suite"]), training(*made[reference])
    # Each form goes through the same batches.
    fast, slow = itertools.cycle(batches), itertools.cycle(batches)
    beside(
        f"second-order {name}, a step of {n_tasks} tasks",
        lambda: ours(next(fast)),
        lambda: theirs(next(slow)),
        reference=REFERENCES[reference],
        rounds=TURNS[n_tasks],
        repeats=REPEATS[reference],
    )
    found, wanted = ours(batches[0]), theirs(batches[0])
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-4, atol=1e-6)
