"""What an executor is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from benchmark.running.plan import Cell

ENDS = ("ok", "failed", "unsupported", "lost")


@dataclass(frozen=True)
class Outcome:
    """What became of a cell, or is becoming of it.

    `lost` left no record: its worker died, or the split was refused. `again` and `said` are no ends: its worker was lost and
    the cell is tried once more; its worker has something to say.
    """

    cell: Cell
    status: Literal["running", "said", "again", "ok", "failed", "unsupported", "lost"]
    reason: str = ""
    seconds: float = 0.0
    training_seconds: float = 0.0
    asking_seconds: float = 0.0

    @property
    def is_end(self) -> bool:
        return self.status in ENDS

    @property
    def is_bad(self) -> bool:
        return self.status in ("failed", "lost")


class Ended(Protocol):
    """A record of any kind, as far as a driver reads it."""

    @property
    def status(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def traceback(self) -> str: ...

    @property
    def training_seconds(self) -> float: ...

    @property
    def asking_seconds(self) -> float: ...


Act = Callable[[Cell, Path], Ended]
"""What is done with a cell: it runs it unless it is done, and writes its record under the folder. A worker imports it."""


class Executor(Protocol):
    """A way to run cells."""

    def run(self, cells: Sequence[Cell], root: Path, act: Act) -> Generator[Outcome, None, None]:
        """Yields each cell's start and its end; ends its workers when closed."""
        ...
