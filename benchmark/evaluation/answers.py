"""What a learner answers, held to the contract."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmark.contract import State
from benchmark.errors import MethodError


def checked_state(state: State, n_tasks: int) -> State:
    """`state` if it is what can be stored for each entity: named tensors that lead with the tasks."""
    if not isinstance(state, dict):
        raise MethodError(f"adapt() returned {type(state).__name__}, wanted a dict of tensors")
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.shape[:1] != (n_tasks,):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise MethodError(f"adapt() returned a state whose '{name}' is {got}, wanted a tensor that leads with {n_tasks} tasks")
    return state


def checked(scores: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """`scores` if they keep the contract."""
    finite = Finite()
    finite.add(in_shape(scores, shape, device))
    finite.check()
    return scores


def in_shape(scores: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """`scores` if they keep the part of the contract that can be seen without their values."""
    if not isinstance(scores, Tensor) or tuple(scores.shape) != shape:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise MethodError(f"score() returned {got}, wanted a tensor of shape {shape}")
    if scores.dtype != torch.float32 or scores.device != device:
        raise MethodError(f"score() returned {scores.dtype} on {scores.device}, wanted float32 on {device}")
    return scores


class Finite:
    """Looks for scores that are not finite on the device, batch by batch, and reads what it found once."""

    def __init__(self) -> None:
        self._found: list[Tensor] = []

    def add(self, scores: Tensor) -> None:
        """Takes note of the first score of a batch [T, C] that is not finite."""
        row = (~scores.isfinite().all(1)).int().argmax()[None]  # the first; 0 where all are
        line = scores.index_select(0, row).flatten()
        column = (~line.isfinite()).int().argmax()[None]
        self._found.append(torch.cat([row.double(), column.double(), line.index_select(0, column).double()]))

    def check(self) -> None:
        """Raises MethodError, naming task and partner, if a score was not finite."""
        for row, column, value in torch.stack(self._found).tolist():
            if not math.isfinite(value):
                raise MethodError(
                    f"score() returned {value} for task {row:.0f}, partner {column:.0f} of its batch; every score must be finite"
                )
