"""Methods that break the contract, one way each; the harness must say so and go on."""

from __future__ import annotations

import os
import signal
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.contract import Learner, Method, World


class _Constant(Learner):
    def __init__(self, world: World, value: float = 0.0, dtype: torch.dtype = torch.float32, columns: int | None = None) -> None:
        self.columns, self.value, self.dtype = columns or world.n_partners, value, dtype

    def adapt(self, support):
        return {"nothing": support.rating[:, :0]}

    def score(self, state, partner=None):
        columns = self.columns if partner is None else partner.shape[1]
        return torch.full((len(state["nothing"]), columns), self.value, dtype=self.dtype)


@dataclass(frozen=True)
class ConstantScorer(Method):
    def fit(self, world, seed, validate):
        return _Constant(world)


@dataclass(frozen=True)
class ReturnsNaN(Method):
    def fit(self, world, seed, validate):
        return _Constant(world, float("nan"))


@dataclass(frozen=True)
class ReturnsInfinity(Method):
    def fit(self, world, seed, validate):
        return _Constant(world, float("inf"))


@dataclass(frozen=True)
class WrongShape(Method):
    def fit(self, world, seed, validate):
        return _Constant(world, columns=world.n_partners - 1)


@dataclass(frozen=True)
class WrongDtype(Method):
    def fit(self, world, seed, validate):
        return _Constant(world, dtype=torch.float64)


@dataclass(frozen=True)
class Raises(Method):
    def fit(self, world, seed, validate):
        raise RuntimeError("a matrix is singular\nand more lines follow")


@dataclass(frozen=True)
class Dies(Method):
    """As if the system had killed it for want of memory."""

    def fit(self, world, seed, validate):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Slow(Method):
    seconds: float = 0.3

    def fit(self, world, seed, validate):
        time.sleep(self.seconds)
        return _Constant(world)


@dataclass(frozen=True)
class Scribbler(Method):
    """Writes into the world it was lent; the next method of this seed must not see it."""

    def fit(self, world, seed, validate):
        world.ratings.rating.zero_()
        return _Constant(world)


@dataclass(frozen=True)
class Exits(Method):
    def fit(self, world, seed, validate):
        raise SystemExit(3)


class _Lists(_Constant):
    def adapt(self, support):
        return {"mean": support.rating.mean(1).tolist()}


@dataclass(frozen=True)
class ReturnsAList(Method):
    """A state whose bytes cannot be counted."""

    def fit(self, world, seed, validate):
        return _Lists(world)


class _Mixes(_Constant):
    def adapt(self, support):
        return {"mean": support.rating.mean().expand(1)}


@dataclass(frozen=True)
class ForgetsTheTasks(Method):
    """One state for the whole batch."""

    def fit(self, world, seed, validate):
        return _Mixes(world)


@dataclass(frozen=True)
class Switcher(Method):
    """Turns every global switch that it finds; the next method must not notice."""

    def fit(self, world, seed, validate):
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(4)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(1)
        np.seterr(all="raise")
        return _Constant(world)


class NoDataclass(Method):
    def fit(self, world, seed, validate):
        return _Constant(world)


class NotAMethod:
    pass


class _Crowded(_Constant):
    """Scores by what was shown, of at most `fits` tasks at once."""

    def __init__(self, world: World, fits: int) -> None:
        super().__init__(world)
        self.fits = fits

    def adapt(self, support):
        return {"sum": support.rating.sum(1, keepdim=True)}

    def score(self, state, partner=None):
        if len(state["sum"]) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.00 GiB.")
        place = torch.arange(self.columns).expand(len(state["sum"]), -1) if partner is None else partner
        return (state["sum"] * (1 + place)).sin()


@dataclass(frozen=True)
class SmallMemory(Method):
    """Runs on a device that holds `fits` tasks."""

    fits: int = 30

    def fit(self, world, seed, validate):
        warnings.warn("a warning of another kind", RuntimeWarning, stacklevel=2)
        return _Crowded(world, self.fits)
