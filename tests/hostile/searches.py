"""Methods whose searches go wrong."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from baselines.trivial.bias import Bias
from benchmark.contract import searched


@dataclass(frozen=True)
class Empty(Bias):
    partner_damping: float = searched(5.0, 10.0, 1.0)


@dataclass(frozen=True)
class Outside(Bias):
    partner_damping: float = searched(500.0, 1.0, 100.0)


@dataclass(frozen=True)
class Logarithm(Bias):
    partner_damping: float = searched(0.0, 0.0, 100.0, log=True)


@dataclass(frozen=True)
class Choice(Bias):
    partner_damping: float = searched(5.0, choices=(1.0, 2.0))


@dataclass(frozen=True)
class Halves(Bias):
    shown: int = searched(2, 0.5, 3.5)


@dataclass(frozen=True)
class Raises(Bias):
    """Every trial but the default fails."""

    partner_damping: float = searched(10.0, 1.0, 100.0)

    def fit(self, world, seed, validate):
        if self.partner_damping != 10.0:
            raise ValueError(f"no damping of {self.partner_damping:g} today")
        return super().fit(world, seed, validate)


@dataclass(frozen=True)
class Hangs(Bias):
    """Every trial but the default hangs."""

    partner_damping: float = searched(10.0, 1.0, 100.0)

    def fit(self, world, seed, validate):
        while self.partner_damping != 10.0:
            time.sleep(1)
        return super().fit(world, seed, validate)


@dataclass(frozen=True)
class Dies(Bias):
    """Every trial but the default takes its process with it."""

    partner_damping: float = searched(10.0, 1.0, 100.0)

    def fit(self, world, seed, validate):
        if self.partner_damping != 10.0:
            os._exit(3)
        return super().fit(world, seed, validate)


@dataclass(frozen=True)
class Slow(Bias):
    """Long enough to be interrupted."""

    partner_damping: float = searched(10.0, 1.0, 100.0)

    def fit(self, world, seed, validate):
        time.sleep(0.7)
        return super().fit(world, seed, validate)


@dataclass(frozen=True)
class Poor(Bias):
    """Any search finds something better than its default."""

    entity_damping: float = searched(5000.0, 0.5, 5000.0, log=True)
