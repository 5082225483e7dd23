"""Boards: what is measured, as TOML files that people read.

A board is track x goal x cut on several data sets. This module imports no torch, so that `list`
answers at once.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmark.errors import UsageError, unknown

METRICS: dict[str, tuple[str, ...]] = {
    "ranking": ("ndcg@10", "recall@10", "mrr@10", "coverage@10", "popularity@10"),
    "rating": ("mae", "rmse", "ndcg@5-rated"),
}
LOWER_IS_BETTER = frozenset({"mae", "rmse"})
DECIDES = ("name", "track", "goal", "cut", "shots", "relevant_from", "metric")  # what a number depends on


ALL = 1_000_000  # `shots = ["all"]`: the whole history, whatever its length
MELU = ("melu-warm", "melu-user", "melu-item", "melu-both")
CUTS_OF = {  # which cuts a track has
    "warm": ("random", "folds", "melu-warm"),
    "user": ("random", "arrival", "melu-user", "mamo", "tanp"),
    "item": ("random", "melu-item"),
    "both": ("random", "melu-both"),
    "cross-domain": ("random",),
    "drift": ("windows",),
}
TRACKS = tuple(CUTS_OF)
WINDOWS = 4  # of the track `drift`
FROZEN = "frozen-"  # before a metric's name, on `drift`: as it was fitted before the first window
POOLED = ("pooled-rmse", "pooled-mae")  # over the rows of a cell; asked for by a preset alone


@dataclass(frozen=True)
class Preset:
    """A row that a preset runs: a method as the paper had it, and what the paper says it reaches."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    called: str = ""  # its name there
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # data set -> metric -> figure


@dataclass(frozen=True)
class Pin:
    """A board's promise for one data set."""

    seeds: int
    fingerprints: tuple[str, ...]  # one a seed; empty while nobody has made the splits
    shots: tuple[int, ...] = ()  # where the data set does not bear the board's own


@dataclass(frozen=True)
class Board:
    name: str
    title: str
    description: str
    track: str
    goal: Literal["rating", "ranking"]
    cut: str
    shots: tuple[int, ...]
    relevant_from: float
    metric: str  # orders the board, by its mean over k >= 1
    datasets: Mapping[str, Pin] = field(default_factory=dict)
    rows: tuple[Preset, ...] = ()  # of a preset: the rows that are run where no method is named; otherwise all are
    speed: bool = False  # whether speed on this board stands for that of others: they serve with the same arithmetic

    @property
    def metrics(self) -> tuple[str, ...]:
        more = POOLED if self.cut == "folds" else (FROZEN + self.metric,) if self.track == "drift" else ()
        return METRICS[self.goal] + more

    def draws(self, dataset: str) -> int:
        """How many seeds ask the same entities: where time decides, all of them do, and differ by the method's luck alone.

        Each draw of a published split (`melu-`) asks for other rows of them: it is small, and one draw of it is noise.
        """
        seeds = self.pin(dataset).seeds
        return {"arrival": seeds, "windows": max(1, seeds // WINDOWS)}.get(self.cut, 5 if self.cut in MELU else 1)

    def on(self, dataset: str) -> Board:
        """This board with the shots that `dataset` bears."""
        return replace(self, shots=self.pin(dataset).shots or self.shots)

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in LOWER_IS_BETTER

    @property
    def sha256(self) -> str:
        """One hash of all that decides a number; words and the count of seeds are not part of it."""
        fields = {name: getattr(self, name) for name in DECIDES}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def pin(self, dataset: str) -> Pin:
        """The pin of `dataset`; a UsageError that lists the board's data sets if it has none."""
        if dataset not in self.datasets:
            raise UsageError(unknown(f"data set on board '{self.name}'", dataset, self.datasets))
        return self.datasets[dataset]


def k_label(k: int) -> str:
    """How a number of shots is printed."""
    return "all" if k == ALL else str(k)


def boards_folder() -> Path:
    """The board files: in the repository, or inside the installed package."""
    here = Path(__file__).resolve().parent
    repository = here.parent.parent / "leaderboards" / "boards"
    return repository if repository.is_dir() else here.parent / "boards"


def splits_folder() -> Path:
    """The certificates of the boards' splits."""
    return boards_folder().parent / "splits"


def n_test_tasks(board: str, dataset: str) -> int | None:
    """How many tasks a board's seeds ask of a data set, as its certificate says; None where there is none."""
    try:
        made = json.loads((splits_folder() / board / f"{dataset}.json").read_text(encoding="utf-8"))
        seeds = [int(one["counts"]["test"]) for one in made["seeds"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    draws = load(board).draws(dataset)
    return sum(seeds[: len(seeds) // draws])


def board_names() -> list[str]:
    """Every shipped board; a preset of an old paper is called `papers/...`."""
    folder = boards_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml"))


def load(name: str) -> Board:
    """The board called `name`, or the one in the file that `name` is the path of."""
    shipped = board_names()
    if not name.endswith(".toml") and name not in shipped:
        raise UsageError(unknown("board", name, shipped))
    path = Path(name) if name.endswith(".toml") else boards_folder() / f"{name}.toml"
    try:
        board = parse(tomllib.loads(path.read_text(encoding="utf-8")), str(path.name))
    except FileNotFoundError:
        raise UsageError(f"there is no board file '{path}'; boards: {', '.join(shipped)}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"board file '{path}' cannot be read as TOML ({error}); mend it or name another") from None
    if board.name in shipped and path.resolve() != (boards_folder() / f"{board.name}.toml").resolve():
        raise UsageError(f"board file '{path}' calls itself '{board.name}', which is a board of the suite; give yours another name")
    return board


_WANTED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "title": str,
    "description": str,
    "track": str,
    "goal": str,
    "cut": str,
    "shots": list,
    "relevant_from": (int, float),
    "metric": str,
    "datasets": dict,
}
_MAY = ("rows", "speed")
_NAME = r"(papers/)?[a-z0-9][a-z0-9-]{0,63}"  # it becomes a file name
_CHOICES = {"track": TRACKS, "goal": tuple(METRICS)}


def parse(table: dict[str, Any], file: str) -> Board:
    """A board from a TOML table; every field is checked, and an unknown one is refused."""
    for key in table:
        if key not in (*_WANTED, *_MAY):
            raise UsageError(f"{file}: " + unknown("field of a board", key, [*_WANTED, *_MAY]))
    for key, kind in _WANTED.items():
        if key not in table:
            raise UsageError(f"{file}: the board has no field '{key}'; every board states it")
        if not isinstance(table[key], kind) or isinstance(table[key], bool) or table[key] != table[key]:
            raise UsageError(f"{file}: field '{key}' is {table[key]!r}, a value of another type was wanted")
    if not re.fullmatch(_NAME, table["name"]):
        raise UsageError(f"{file}: a board may not be called {table['name']!r}; wanted small letters, digits and hyphens")
    for key, choices in _CHOICES.items():
        if table[key] not in choices:
            raise UsageError(f"{file}: " + unknown(key, table[key], choices))
    if table["cut"] not in CUTS_OF[table["track"]]:
        raise UsageError(f"{file}: " + unknown(f"cut of the track '{table['track']}'", table["cut"], CUTS_OF[table["track"]]))
    if table["metric"] not in METRICS[table["goal"]]:
        raise UsageError(f"{file}: " + unknown("metric", table["metric"], list(METRICS[table["goal"]])))
    if not isinstance(table.get("speed", False), bool):
        raise UsageError(f"{file}: field 'speed' is {table['speed']!r}; wanted true or false")
    shots = _shots(table["shots"], file)
    datasets = {name: _pin(name, pin, file) for name, pin in table["datasets"].items()}
    rows = tuple(_preset(row, file) for row in table.get("rows", []))
    known = {**table, "shots": shots, "relevant_from": float(table["relevant_from"]), "datasets": datasets, "rows": rows}
    board = Board(**known)
    for name, pin in datasets.items():
        if board.cut == "windows" and pin.seeds % WINDOWS:
            raise UsageError(f"{file}: [datasets.{name}] has {pin.seeds} seeds; seed i asks window i mod {WINDOWS}, so wanted a multiple")
    return board


def _shots(given: Any, file: str) -> tuple[int, ...]:
    shots = [ALL] if given == ["all"] else given
    whole = isinstance(shots, list) and all(isinstance(k, int) and not isinstance(k, bool) and k >= 0 for k in shots)
    if not shots or not whole or shots != sorted(set(shots)) or shots[-1] == 0:
        raise UsageError(f"{file}: shots are {shots}; wanted distinct rising counts such as [0, 1, 5], or ['all']")
    return tuple(shots)


def _preset(row: Any, file: str) -> Preset:
    try:
        return Preset(**row)
    except TypeError:
        wanted = "method, and perhaps settings, called and published"
        raise UsageError(f"{file}: [[rows]] holds {row!r}; wanted a table with the fields {wanted}") from None


def _pin(name: str, pin: Any, file: str) -> Pin:
    if not isinstance(pin, dict) or set(pin) - {"shots"} != {"seeds", "fingerprints"}:
        raise UsageError(f"{file}: [datasets.{name}] is {pin!r}; wanted the fields seeds and fingerprints, and perhaps shots")
    seeds, prints = pin["seeds"], pin["fingerprints"]
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1 or not isinstance(prints, list):
        raise UsageError(f"{file}: [datasets.{name}] wants a count of seeds and a list of fingerprints")
    if not all(isinstance(one, str) and re.fullmatch(r"[0-9a-f]{64}", one) for one in prints):
        raise UsageError(f"{file}: [datasets.{name}] pins what is no fingerprint; wanted 64 hexadecimal digits each")
    if prints and len(prints) != seeds:
        raise UsageError(f"{file}: [datasets.{name}] pins {len(prints)} fingerprints for {seeds} seeds")
    return Pin(seeds, tuple(prints), _shots(pin["shots"], file) if "shots" in pin else ())
