"""What a row counts for where a method ranks from implicit feedback; a row that counts 0 is as if it were not there."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.nn.taste import taste
from benchmark.contract import World

READINGS = ("taste", "liked", "rated")


def feedback(rating: Tensor, world: World, reading: str, dislike: float = 1.1) -> Tensor:
    """`taste`: a(r) of `baselines.nn.taste`; `liked`: 1 where relevant, else 0; `rated`: 1, whatever the rating."""
    if reading == "taste":
        return taste(rating, world, dislike)
    return (rating >= world.relevant_from).float() if reading == "liked" else torch.ones_like(rating)


def liked_share(world: World) -> Tensor:
    """The share of the warm entities that liked each partner: [n_partners]; what a ranking is at zero shots."""
    rows = world.ratings
    liked = rows.partner[rows.rating >= world.relevant_from]
    return torch.bincount(liked, minlength=world.n_partners).float() / rows.entity.unique().numel()
