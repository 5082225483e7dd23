"""Half-steps of alternating least squares: the ridge solution of one side, given the other side's factors.

    u_e = (w V'V + (1 - w) V_e'V_e + damping I)^-1 V_e' y_e

over the partners V_e that e met, whose targets are y_e; a pair without a row counts as 0 with weight w.

Yifan Hu, Yehuda Koren and Chris Volinsky (2008), Collaborative Filtering for Implicit Feedback Datasets.
"""

from __future__ import annotations

import torch
from torch import Tensor

CELLS_AT_ONCE = 8_000_000  # numbers gathered for one batch of normal equations


class Side:
    """Rows grouped by one side, in batches of similar length, so that padding stays small."""

    def __init__(self, group: Tensor, other: Tensor, y: Tensor, n: int) -> None:
        order = torch.argsort(group, stable=True)
        self._other, self._y = other[order], y[order]
        self._rows = torch.bincount(group, minlength=n)
        self._start = self._rows.cumsum(0) - self._rows
        self._by_length = torch.argsort(self._rows, stable=True)
        self._lengths = self._rows[self._by_length].cpu().numpy()  # read once: half-steps do not wait for the device

    def solve(self, v: Tensor, damping: float, unobserved: float) -> Tensor:
        """The ridge solution of every id of this side, given the other side's factors; 0 without a row."""
        u, gram, at = v.new_zeros(len(self._rows), v.shape[1]), v.T @ v, len(self._rows)
        while at > 0:
            longest = int(self._lengths[at - 1])
            if longest == 0:
                break
            run = self._by_length[max(0, at - max(1, CELLS_AT_ONCE // (longest * v.shape[1]))) : at]
            place = torch.arange(longest, device=v.device)
            mask = place < self._rows[run, None]
            row = (self._start[run, None] + place) * mask
            u[run] = fold_in(v[self._other[row]] * mask[:, :, None], self._y[row] * mask, gram, damping, unobserved)
            at -= len(run)
        return u


def fold_in(seen: Tensor, y: Tensor, gram: Tensor, damping: float, unobserved: float) -> Tensor:
    """u [T, d] of the partners seen [T, K, d] (zeros where masked) and their y [T, K]."""
    eye = torch.eye(len(gram), device=gram.device)
    normal = unobserved * gram + (1 - unobserved) * (seen.mT @ seen) + damping * eye
    return torch.linalg.solve_ex(normal, seen.mT @ y[:, :, None]).result.squeeze(2)
