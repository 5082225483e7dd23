"""A small transformer over a set of tokens, that reads out one vector.

    a = tokens + attention(norm(tokens)),   out = a + mlp(norm(a)),   u = W (out of the first token)

No token knows its place, so their order means nothing; the first, learned, token is read out, and a
set of no other token is an ordinary input (Ashish Vaswani et al. 2017, Attention Is All You Need,
with the norms first).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SetReader(nn.Module):
    """Tokens [T, S, width] and a mask [T, S] to u [T, width]."""

    def __init__(self, width: int, heads: int, layers: int, generator: torch.Generator, device: torch.device) -> None:
        super().__init__()

        def drawn(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter((torch.randn(rows, columns, generator=generator) * gain / rows**0.5).to(device))

        self.heads = heads
        self.first = nn.Parameter(torch.zeros(width, device=device))
        self.qkv = nn.ParameterList([drawn(width, 3 * width) for _ in range(layers)])
        self.mix = nn.ParameterList([drawn(width, width, 0.5) for _ in range(layers)])
        self.wide = nn.ParameterList([drawn(width, 4 * width) for _ in range(layers)])
        self.back = nn.ParameterList([drawn(4 * width, width, 0.5) for _ in range(layers)])
        self.out = drawn(width, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Written out with plain products, so that it can be differentiated twice.

        Of the last layer only the first token is read, so the others are attended to and go no further.
        """
        t, _, width = tokens.shape
        x = torch.cat([self.first.expand(t, 1, width), tokens], 1)
        hidden = torch.where(functional.pad(mask, (1, 0), value=True), 0.0, -torch.inf)[:, None, None]  # [T, 1, 1, S]
        for layer, (qkv, mix, wide, back) in enumerate(zip(self.qkv, self.mix, self.wide, self.back, strict=True), 1):
            seen = norm(x)
            k, v = (seen @ qkv[:, width:]).view(t, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
            if layer == len(self.qkv):
                x, seen = x[:, :1], seen[:, :1]
            q = (seen @ qkv[:, :width]).view(t, -1, self.heads, width // self.heads).transpose(1, 2)
            near = (q @ k.mT / (width // self.heads) ** 0.5 + hidden).softmax(3)
            x = x + (near @ v).transpose(1, 2).reshape(t, -1, width) @ mix
            x = x + functional.gelu(norm(x) @ wide) @ back
        return norm(x[:, 0]) @ self.out


def norm(x: Tensor) -> Tensor:
    """x to unit root mean square (Biao Zhang and Rico Sennrich 2019, Root Mean Square Layer Normalization)."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
