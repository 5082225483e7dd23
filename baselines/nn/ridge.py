"""Ridge regression of many tasks at once, around a prior, in the smaller of its two forms.

w = argmin |x w - y|^2 + damping |w - prior|^2
  = prior + (x'x + damping I)^-1 x' (y - x prior) = prior + x' (x x' + damping I)^-1 (y - x prior)
"""

from __future__ import annotations

import torch
from torch import Tensor


def ridge(x: Tensor, y: Tensor, prior: Tensor, damping: Tensor | float) -> Tensor:
    """w [T, d] of x [T, K, d], zeros where masked, and y [T, K], around a prior [d] or [T, d]; differentiable."""
    k, d = x.shape[1:]
    eye = torch.eye(min(k, d), dtype=x.dtype, device=x.device)
    prior = prior.expand(len(x), d)
    left = y[:, :, None] - x @ prior[:, :, None]
    if k < d:
        moved = x.mT @ torch.linalg.solve_ex(x @ x.mT + damping * eye, left).result
    else:
        moved = torch.linalg.solve_ex(x.mT @ x + damping * eye, x.mT @ left).result
    return prior + moved.squeeze(2)
