"""Features as one matrix, and partners as vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from baselines.nn.sparse_rows import SparseRows
from benchmark.contract import Features, World


def design_matrix(features: Features) -> Tensor:
    """[n, F] float32: one-hot categories (0, unknown, is all zeros), multi-hot and dense blocks."""
    blocks = [functional.one_hot(features.categorical[:, a], size)[:, 1:].float() for a, size in enumerate(features.categorical_sizes)]
    return torch.cat([*blocks, features.multi_hot, features.dense], 1)


def alike(features: Features) -> tuple[Tensor, Tensor]:
    """Who stands for all of one content: the first id of each kind [m], and the kind of each id [n]."""
    columns = [features.categorical.double(), features.multi_hot.double(), features.dense.double()]
    x = torch.cat([*columns, columns[0].new_zeros(len(features), 1)], 1)  # a column that says nothing, where there is no other
    kinds, kind = torch.unique(x, dim=0, return_inverse=True)
    ids = torch.arange(len(x), device=x.device)
    return ids.new_zeros(len(kinds)).scatter_reduce_(0, kind, ids, "amin", include_self=False), kind


DENSE = 4  # a matrix with more than one number in so many is multiplied as it is


class Known(nn.Module):
    """A fixed matrix x [n, F], and its product with learned tables.

    Genres, tags and words are mostly zeros: on a CPU only the others are read, a fifth to a tenth of the dense
    product's time on MovieLens. A GPU multiplies the zeros faster than it skips them.
    """

    x: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)
        row, column = torch.nonzero(x, as_tuple=True)
        self.sides = None
        if x.device.type == "cpu" and len(row) * DENSE < x.numel():
            value = x[row, column]
            sides = SparseRows.of(row, column, len(x)), SparseRows.of(column, row, x.shape[1])
            self.sides = tuple((side, value[side.order]) for side in sides)

    def forward(self, table: Tensor) -> Tensor:
        """x table: [n, d] of a table [F, d]."""
        found: Tensor = self.x @ table if self.sides is None else _Times.apply(table, *self.sides)
        return found


class _Times(torch.autograd.Function):
    """Sparse rows times a table, and the transposed product back to it."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: tuple[SparseRows, Tensor], columns: tuple[SparseRows, Tensor]) -> Tensor:
        ctx.columns = columns
        side, value = rows
        return side.times(table, value.to(table.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        side, value = ctx.columns
        return side.times(grad.contiguous(), value.to(grad.dtype)), None, None


class PartnerEncoder(nn.Module):
    """z_p = E_p (warm partners only) + W x_p: a partner never rated is what its features say."""

    warm: Tensor

    def __init__(self, world: World, width: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        x = design_matrix(world.partner_features)
        draw = torch.randn(world.n_partners, width, generator=generator) * scale
        self.identity = nn.Parameter(draw.to(world.device))
        draw = torch.randn(x.shape[1], width, generator=generator) * scale / max(1, x.shape[1]) ** 0.5
        self.content = nn.Parameter(draw.to(world.device))
        self.register_buffer("warm", world.partner_is_warm.float()[:, None])
        self.known = Known(x)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Z: [n_partners, width], or of `rows` [N] alone."""
        if rows is None:
            return torch.addcmul(self.known(self.content), self.identity, self.warm)
        identity, warm, x = (part.index_select(0, rows) for part in (self.identity, self.warm, self.known.x))
        z: Tensor = identity * warm + x @ self.content
        return z


class FieldEncoder(nn.Module):
    """Content alone: one embedding a field, side by side; an id never met is as good as any other.

    A categorical field is looked up (0, unknown, has a row of its own), a multi-hot block is the mean of
    the embeddings of its flags, a dense block a linear map.
    """

    categorical: Tensor
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
        self.known = Known(features.multi_hot / features.multi_hot.sum(1, keepdim=True).clamp(min=1))
        self.register_buffer("dense", features.dense)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """[n, width], or of `rows` [N] alone; width is 0 where nothing is known."""
        categorical, dense = (block if rows is None else block[rows] for block in (self.categorical, self.dense))
        parts = [functional.embedding(categorical[:, a], table) for a, table in enumerate(self.tables)]
        if self.flags is not None:
            parts.append(self.known(self.flags) if rows is None else self.known.x[rows] @ self.flags)
        if self.numbers is not None:
            parts.append(dense @ self.numbers)
        return torch.cat(parts, 1) if parts else dense.new_zeros(len(dense), 0)
