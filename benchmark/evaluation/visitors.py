"""Supports to serve while speed is measured: entities of the test, each time shown other rows of their pools."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmark.contract import Support, World
from benchmark.protocol.tasks import Tasks


class Visitors:
    """Draws supports anew for each call. Where a pool holds no more rows than are shown, an entity's rows come in another order at most."""

    def __init__(self, tasks: Tasks, world: World, shots: int, seed: int = 0) -> None:
        self._tasks, self._world, self._shots = tasks, world, shots
        self._luck = torch.Generator(world.device).manual_seed(seed)
        self._warm = torch.nonzero(world.partner_is_warm & (world.partner_domain == 0)).flatten()
        self._queue = torch.empty(0, dtype=torch.int64, device=world.device)

    def draw(self, n: int) -> Support:
        """`n` entities, each with `shots` rows of her pool."""
        return self._drawn(n).support(self._shots)

    def made_up(self, n: int) -> Support:
        """The same with partners and ratings drawn at random, no partner twice in a support: for warming up."""
        real = self._drawn(n)
        low, high = self._world.rating_range
        luck = torch.rand(real.pool_rating.shape, generator=self._luck, device=self._world.device)
        partner = self._some(n, real.pool_partner.shape[1])
        return replace(
            real, pool_partner=partner * real.pool_mask, pool_rating=(low + (high - low) * luck).round().clamp(low, high) * real.pool_mask
        ).support(self._shots)

    def _some(self, n: int, k: int) -> torch.Tensor:
        """Warm partners of the target domain, distinct in each row where there are `k` of them: [n, k]."""
        deck = self._warm[torch.randperm(len(self._warm), generator=self._luck, device=self._world.device)]
        start = torch.randint(len(deck), (n, 1), generator=self._luck, device=deck.device)
        return deck[(start + torch.arange(k, device=deck.device)) % len(deck)]

    def _drawn(self, n: int) -> Tasks:
        tasks = self._tasks
        while len(self._queue) < n:
            again = torch.randperm(len(tasks), generator=self._luck, device=self._world.device)
            self._queue = torch.cat([self._queue, again])
        one, self._queue = self._queue[:n], self._queue[n:]
        mask = tasks.pool_mask[one]
        luck = torch.rand(mask.shape, generator=self._luck, device=mask.device).masked_fill(~mask, 2.0)
        order = luck.topk(min(self._shots, mask.shape[1]), largest=False).indices
        return replace(
            tasks,
            entity=tasks.entity[one],
            **{name: getattr(tasks, name)[one].gather(1, order) for name in ("pool_partner", "pool_rating", "pool_time", "pool_mask")},
            **{name: getattr(tasks, name)[one] for name in ("given_partner", "given_rating", "given_mask")},
            query_offset=tasks.query_offset.new_zeros(n + 1),
            query_partner=tasks.query_partner[:0],
            query_rating=tasks.query_rating[:0],
        )
