"""What a rating says of taste, for methods that rank: to have rated at all is a sign of liking its kind."""

from __future__ import annotations

from torch import Tensor

from benchmark.contract import World


def taste(rating: Tensor, world: World, dislike: float | Tensor) -> Tensor:
    """a(r): 1 for the highest rating, falling in a line to 1 - dislike for the lowest."""
    low, high = world.rating_range
    return 1 - dislike * (high - rating) / (high - low)
