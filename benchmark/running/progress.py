"""What is shown while cells run: a live table on a terminal, lines in a pipe, JSON objects for machines, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from benchmark.records.store import Key, label
from benchmark.running.executors.logs import log_path
from benchmark.running.executors.outcome import Outcome
from benchmark.running.plan import Cell

Style = Literal["auto", "quiet", "json"]
TICK_SECONDS = 1.0
SOON_SECONDS = 90.0  # below which the time left is told in seconds


def progress(style: Style, todo: Sequence[Cell], total: int, what: str, workers: int, stream: TextIO, out: Path) -> Progress:
    """The progress that `style` asks for and `stream` can show. `total` counts the cells that were done before, too."""
    if style == "json":
        return Events(todo, total, what, workers, stream, out)
    if style == "quiet":
        return Progress(todo, total, what, workers, stream)
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return Table(todo, total, what, workers, stream)
    return Lines(todo, total, what, workers, stream)


class Progress:
    """Counts what runs, what ended and what time is left; shows nothing. Durations are of a clock that never jumps."""

    def __init__(self, todo: Sequence[Cell], total: int, what: str, workers: int, stream: TextIO) -> None:
        self.ended: list[Outcome] = []
        self._todo = {cell.key: cell for cell in todo}  # those without an end
        self._total, self._kept, self._what, self._workers, self._stream = total, total - len(todo), what, workers, stream
        self._running: dict[Key, tuple[int, float]] = {}  # the row of its worker, and since when
        self._spent: dict[str, list[float]] = {}  # method -> seconds of its ended cells
        self._started = time.monotonic()

    def show(self, outcome: Outcome) -> None:
        """Takes what an executor yields."""
        key = outcome.cell.key
        if outcome.status == "running":
            taken = {row for row, _ in self._running.values()}
            self._running[key] = next(row for row in range(len(taken) + 1) if row not in taken), time.monotonic()
        elif outcome.status == "again":
            self._running.pop(key, None)
        elif outcome.is_end:
            self._running.pop(key, None)
            self._todo.pop(key, None)
            self.ended.append(outcome)
            self._spent.setdefault(outcome.cell.identity.method, []).append(outcome.seconds)

    def end(self) -> None:
        """After the last outcome, or where the run is broken off."""

    @property
    def _done(self) -> int:
        return self._kept + len(self.ended)

    @property
    def _failed(self) -> int:
        return sum(one.is_bad for one in self.ended)

    def seconds_left(self) -> float | None:
        """What is left to do, each cell at the mean of its method's ended cells, else of all; None before the first end."""
        if not self.ended:
            return None
        every, now = [one.seconds for one in self.ended], time.monotonic()
        mean = sum(every) / len(every)
        left = 0.0
        for key, cell in self._todo.items():
            known = self._spent.get(cell.identity.method)
            cost = sum(known) / len(known) if known else mean
            left += max(0.0, cost - (now - self._running[key][1])) if key in self._running else cost
        return left / max(1, min(self._workers, len(self._todo)))

    def _left(self) -> str:
        seconds = self.seconds_left()
        if seconds is None or not self._todo:
            return ""
        return f", about {seconds / 60:.0f} min left" if seconds >= SOON_SECONDS else f", about {seconds:.0f} s left"


class Lines(Progress):
    """A line a cell."""

    def __init__(self, todo: Sequence[Cell], total: int, what: str, workers: int, stream: TextIO) -> None:
        super().__init__(todo, total, what, workers, stream)
        stream.write(f"{total} {what}: {self._kept} done before, {len(todo)} to run\n")

    def show(self, outcome: Outcome) -> None:
        """Writes of each end, and of what is out of the ordinary."""
        super().show(outcome)
        name = label(outcome.cell.key)
        if outcome.is_end:
            self._write(f"[{self._done}/{self._total}] {name} {outcome.status} in {outcome.seconds:.1f} s{self._left()}")
        elif (line := _unusual(outcome)) is not None:
            self._write(line)

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class Table(Progress):
    """A table that is drawn anew: a line of sums, and a row a worker with its cell and the seconds so far."""

    def __init__(self, todo: Sequence[Cell], total: int, what: str, workers: int, stream: TextIO) -> None:
        super().__init__(todo, total, what, workers, stream)
        self._drawn, self._lock, self._over = 0, threading.Lock(), threading.Event()
        stream.write(f"{total} {what}: {self._kept} done before, {len(todo)} to run\n")
        threading.Thread(target=self._tick, daemon=True).start()

    def show(self, outcome: Outcome) -> None:
        """Draws the table, under what is out of the ordinary."""
        with self._lock:
            super().show(outcome)
            self._draw(above=_unusual(outcome))

    def end(self) -> None:
        """Takes the table away."""
        self._over.set()
        with self._lock:
            self._stream.write(self._wiped())
            self._stream.flush()

    def _tick(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            with self._lock:
                if not self._over.is_set():
                    self._draw()

    def _draw(self, above: str | None = None) -> None:
        size = shutil.get_terminal_size()
        lines = [line[: size.columns - 1] for line in self._lines(size.lines - 1)]
        wiped = self._wiped()
        self._stream.write(wiped + (f"{above}\n" if above else "") + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)

    def _wiped(self) -> str:
        up, self._drawn = self._drawn, 0
        return f"\x1b[{up}F\x1b[J" if up else ""

    def _lines(self, room: int) -> list[str]:
        now = time.monotonic()
        rate = 60 * len(self.ended) / max(now - self._started, 1e-9)
        rows = {row: f"{label(key)}  {duration(now - since)}" for key, (row, since) in self._running.items()}
        shown = [f"{row + 1:>3}  {rows.get(row, 'idle')}" for row in range(min(self._workers, len(self._todo) + len(self.ended)))]
        if len(shown) >= room:  # the sums and as many rows as fit
            shown = [*shown[: max(0, room - 2)], f"     and {len(shown) - max(0, room - 2)} more workers"]
        return [f"{self._done}/{self._total} {self._what}, {self._failed} failed, {rate:.1f} a minute{self._left()}", *shown]


class Events(Progress):
    """A JSON object a line."""

    def __init__(self, todo: Sequence[Cell], total: int, what: str, workers: int, stream: TextIO, out: Path) -> None:
        super().__init__(todo, total, what, workers, stream)
        self._out = out
        self._tell("start", what=what, total=total, done=self._kept, todo=len(todo), workers=workers)

    def show(self, outcome: Outcome) -> None:
        """Tells of every outcome."""
        row = self._running.get(outcome.cell.key, (0, 0.0))[0]
        super().show(outcome)
        row = self._running.get(outcome.cell.key, (row, 0.0))[0]
        name: dict[str, Any] = {"cell": label(outcome.cell.key), "worker": row + 1}
        if outcome.status == "running":
            self._tell("cell_started", **name)
        elif outcome.is_end:
            left = self.seconds_left()
            seconds = {"seconds": round(outcome.seconds, 3), "seconds_left": None if left is None else round(left, 1)}
            kind = "accuracy" if self._what == "cells" else "speed"
            log = log_path(self._out, outcome.cell.key, kind)
            written = {"log": str(log)} if log.is_file() else {}
            self._tell("cell_ended", **name, status=outcome.status, reason=outcome.reason, **seconds, **written)
        else:
            self._tell("cell_again" if outcome.status == "again" else "cell_said", **name, reason=outcome.reason)

    def end(self) -> None:
        """Tells the sums."""
        self._tell("end", what=self._what, ended=len(self.ended), failed=self._failed, seconds=round(time.monotonic() - self._started, 3))

    def _tell(self, event: str, **fields: Any) -> None:
        tell(self._stream, event, **fields)


def tell(stream: TextIO, event: str, **fields: Any) -> None:
    """Writes one event."""
    stream.write(json.dumps({"event": event, **fields}) + "\n")
    stream.flush()


def _unusual(outcome: Outcome) -> str | None:
    """A line for what is neither a start nor an end."""
    if outcome.status == "again":
        return f"{label(outcome.cell.key)} is tried again in a fresh worker: {outcome.reason}"
    return outcome.reason if outcome.status == "said" else None


def duration(seconds: float) -> str:
    """`2 h 5 min`, `3 min 5 s`, `4.2 s`, `0 s`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds else "0 s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
