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

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Z: [n_partners, width], or of `rows` [N] alone."""
        parts = (self.identity, self.warm, self.features)
        identity, warm, features = parts if rows is None else (part.index_select(0, rows) for part in parts)
        z: Tensor = identity * warm + features @ self.content
        return z


class FieldEncoder(nn.Module):
    """Content alone: one embedding a field, side by side; an id never met is as good as any other.

    A categorical field is looked up (0, unknown, has a row of its own), a multi-hot block is the mean of
    the embeddings of its flags, a dense block a linear map.
    """

    categorical: Tensor
    multi_hot: Tensor
    dense: Tensor

    def __init__(self, features: Features, width: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        device = features.categorical.device

        def drawn(rows: int) -> nn.Parameter:
            return nn.Parameter((torch.randn(rows, width, generator=generator) * scale).to(device))

        self.tables = nn.ParameterList([drawn(size) for size in features.categorical_sizes])
        flags, numbers = features.multi_hot.shape[1], features.dense.shape[1]
        self.flags = drawn(flags) if flags else None
        self.numbers = drawn(numbers) if numbers else None
        self.width = width * (len(self.tables) + (flags > 0) + (numbers > 0))
        self.register_buffer("categorical", features.categorical)
        self.register_buffer("multi_hot", features.multi_hot / features.multi_hot.sum(1, keepdim=True).clamp(min=1))
        self.register_buffer("dense", features.dense)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """[n, width], or of `rows` [N] alone; width is 0 where nothing is known."""
        categorical, multi_hot, dense = (block if rows is None else block[rows] for block in (self.categorical, self.multi_hot, self.dense))
        parts = [functional.embedding(categorical[:, a], table) for a, table in enumerate(self.tables)]
        if self.flags is not None:
            parts.append(multi_hot @ self.flags)
        if self.numbers is not None:
            parts.append(dense @ self.numbers)
        return torch.cat(parts, 1) if parts else dense.new_zeros(len(dense), 0)
