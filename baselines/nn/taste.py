"""What a rating says of taste: how much a row was liked, and whether."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.nn.bias import DampedBias
from benchmark.contract import Support, World


def taste(rating: Tensor, world: World, dislike: float | Tensor) -> Tensor:
    """a(r): 1 for the highest rating, falling in a line to 1 - dislike for the lowest.

    For methods that rank: to have rated at all is a sign of liking its kind. Where feedback is implicit,
    a scale of one rating, it is 1.
    """
    low, high = world.rating_range
    if low == high:
        return torch.ones_like(rating)
    return 1 - dislike * (high - rating) / (high - low)


def liked(world: World, bias: DampedBias, support: Support) -> Tensor:
    """Which support rows are of the class of the liked: [T, K] bool.

    `ranking`: rating >= relevant_from. `rating`: above the damped bias model.
    """
    if world.goal == "ranking":
        return support.rating >= world.relevant_from
    return bias.residual(support) - bias.entity(support) > 0
