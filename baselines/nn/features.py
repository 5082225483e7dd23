"""Features as one matrix, and partners as vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contract import Features, World


def design_matrix(features: Features) -> Tensor:
    """[n, F] float32: one-hot categories (0, unknown, is all zeros), multi-hot and dense blocks."""
    blocks = [functional.one_hot(features.categorical[:, a], size)[:, 1:].float() for a, size in enumerate(features.categorical_sizes)]
    return torch.cat([*blocks, features.multi_hot, features.dense], 1)


class PartnerEncoder(nn.Module):
    """z_p = E_p (warm partners only) + W x_p: a partner never rated is what its features say."""

    warm: Tensor
    features: Tensor

    def __init__(self, world: World, width: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        x = design_matrix(world.partner_features)
        draw = torch.randn(world.n_partners, width, generator=generator) * scale
        self.identity = nn.Parameter(draw.to(world.device))
        draw = torch.randn(x.shape[1], width, generator=generator) * scale / max(1, x.shape[1]) ** 0.5
        self.content = nn.Parameter(draw.to(world.device))
        self.register_buffer("warm", world.partner_is_warm.float()[:, None])
        self.register_buffer("features", x)

    def forward(self) -> Tensor:
        """Z: [n_partners, width]."""
        z: Tensor = self.identity * self.warm + self.features @ self.content
        return z
