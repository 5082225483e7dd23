"""How much each row of a support weighs in the inner loss, which is a sum over rows.

A support longer than any that was trained on (a whole history) counts as the longest of those: a step as long as its sum
would leave the region in which the start and the rates were learned.
"""

from __future__ import annotations

from torch import Tensor

from benchmark.contract import Support, World
from benchmark.protocol.tasks import GIVEN_ROWS


def inner_weight(support: Support, world: World) -> Tensor:
    """1 for a row, 0 where masked, less in a support longer than those of training tasks: [T, K]."""
    longest = max(world.shots) + GIVEN_ROWS * (world.partner_domain > 0).any()
    return support.mask * (longest / support.count().clamp(min=1)).clamp(max=1.0)[:, None]
