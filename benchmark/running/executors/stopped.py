"""How a cell is recorded whose worker had to be stopped: it is run once more, with a method that only says why.

So its split, its identity and its lock are as in every other cell, and where another run has finished it meanwhile,
that result stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmark.contract import Learner, Method
from benchmark.errors import MethodError
from benchmark.running.plan import Cell


@dataclass(frozen=True)
class Stopped(Method):
    """Fails at once, for the reason given."""

    reason: str = ""

    def fit(self, world: object, seed: int, validate: object) -> Learner:
        """Raises the MethodError that becomes the record."""
        raise MethodError(self.reason)


def stopped(cell: Cell, reason: str) -> Cell:
    """The same cell, failing for this reason."""
    target = f"{Stopped.__module__}:{Stopped.__qualname__}"
    return replace(cell, entry=replace(cell.entry, target=target, settings={"reason": reason}))
