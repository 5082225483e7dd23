"""One board on one data set, from cell records to rows: the model behind every rendering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.records.schema import BoardFacts, CellRecord
from benchmark.reporting.notes import went_on, why_absent
from benchmark.reporting.staleness import Staleness, staleness
from benchmark.reporting.statistics import Bootstrap, Interval, compare

REFERENCES = ("chance", "oracle")
TRIVIAL = ("popularity", "item_mean", "bias", "content_ridge", "item_knn")  # where applicable: a row that is n/a is not asked for
NO_TABLE, LOW_POWER = 30, 100  # test tasks over all seeds, or in one window of the track `drift`

Rows = Callable[[CellRecord], dict[str, list[float]]]


@dataclass(frozen=True)
class Row:
    """A method's line. `note` says why there are no numbers, where there are none, and where they were made with less."""

    method: str
    note: str = ""
    curves: dict[str, dict[int, Interval]] | None = None  # metric -> k -> figure
    area: dict[str, Interval] | None = None  # metric -> mean over k >= 1
    seed_spread: float = 0.0  # standard deviation of the area between seeds, or between draws of the same tasks
    gain: float | None = None  # (area - chance) / (oracle - chance)
    rank: tuple[int, int] | None = None
    beats_trivial: bool | None = None  # None: not asked, e.g. of a trivial row
    trials: tuple[int, ...] = ()  # of the searches that chose its settings, where it was tuned
    staleness: Staleness | None = None  # on the track `drift`


@dataclass(frozen=True)
class Table:
    dataset: str
    board: str
    facts: BoardFacts
    seeds: tuple[int, ...]
    n_tasks: int
    fewest_tasks: int  # in a window of the track `drift`; elsewhere `n_tasks`
    counts: dict[str, int]  # summed over seeds where that makes sense
    trivial: tuple[str, ...]  # the rows that "beats trivial" compares with
    lacking: tuple[str, ...]  # trivial rows without numbers here: "beats trivial" is then not answered
    rows: list[Row]  # best first, then what has no numbers
    references: list[Row]
    protocol: str
    board_sha256: str
    mixed_code: bool
    fingerprints: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all seeds that the board asks for are here; without them nobody is ranked."""
        return len(self.seeds) == self.facts.n_seeds

    @property
    def low_power(self) -> bool:
        return self.fewest_tasks < LOW_POWER


def tables(records: Iterable[CellRecord], rows: Rows) -> list[Table]:
    """A table for each board and data set that has records, sorted by name.

    The order of `records` changes nothing. Records of one board that was edited in between, or of
    another protocol or data set under the same name, make tables of their own.
    """
    groups: dict[tuple[str, ...], list[CellRecord]] = {}
    for record in sorted(records, key=lambda record: record.key):
        one = record.identity
        version = (one.board, one.dataset, one.protocol, one.board_sha256, one.dataset_sha256)
        groups.setdefault(version, []).append(record)
    return [_table(group, rows) for _, group in sorted(groups.items())]


def _table(given: list[CellRecord], rows: Rows) -> Table:
    records, strays = _on_one_split(given)
    facts, one = records[0].board, records[0].identity
    by_method: dict[str, list[CellRecord]] = {}
    for record in records:
        by_method.setdefault(record.identity.method, []).append(record)
    seeds = tuple(sorted({record.identity.seed_index for record in records if record.status == "ok"}))
    whole = {name: cells for name, cells in by_method.items() if name not in strays and _is_whole(cells, seeds)}
    first = {record.identity.seed_index: record for record in reversed(records)}
    slices = [draws[0].n_tasks for draws in slices_of(facts, [first[seed] for seed in seeds])]
    n_tasks = sum(slices)
    fewest = min(slices, default=0) if facts.track == "drift" else n_tasks
    absent = [Row(name, why_absent(cells, seeds)) for name, cells in by_method.items() if name not in whole and name not in strays]
    absent += [Row(name, f"stale: made on another split ({print_[:12]}...); run it again") for name, print_ in sorted(strays.items())]
    trivial = tuple(name for name in TRIVIAL if name in whole)
    lacking = tuple(name for name in TRIVIAL if name not in whole and not _is_unsupported(by_method.get(name, [])))
    complete = len(seeds) == facts.n_seeds
    made: list[Row] = []
    if fewest >= NO_TABLE:
        held = {cell.key: rows(cell) for cells in whole.values() for cell in cells}
        values = {name: values_of(facts, cells, lambda cell: held[cell.key]) for name, cells in whole.items()}
        spread = {name: _spread(facts, cells, lambda cell: held[cell.key]) for name, cells in whole.items()}
        made = _rows(facts, values, whole, spread, () if lacking or not complete else trivial, complete)
    ranked = [row for row in made if row.method not in REFERENCES]
    sign = -1 if facts.higher_is_better else 1
    ranked.sort(key=lambda row: (sign * _area(row, facts.metric), row.method))
    return Table(
        one.dataset,
        one.board,
        facts,
        seeds,
        n_tasks,
        fewest,
        _counts(facts, first, seeds),
        trivial,
        lacking,
        ranked + absent,
        [row for name in REFERENCES for row in made if row.method == name],
        one.protocol,
        one.board_sha256,
        len({record.identity.harness_sha256 for record in records}) > 1,
        tuple(first[seed].identity.fingerprint for seed in seeds),
    )


def _on_one_split(records: list[CellRecord]) -> tuple[list[CellRecord], dict[str, str]]:
    """The records that share each seed's most common fingerprint, and the methods that stray from it."""
    votes: dict[int, Counter[str]] = {}
    for record in records:
        votes.setdefault(record.identity.seed_index, Counter())[record.identity.fingerprint] += 1
    held = {seed: min(count, key=lambda one: (-count[one], one)) for seed, count in votes.items()}
    strays = {r.identity.method: r.identity.fingerprint for r in records if r.identity.fingerprint != held[r.identity.seed_index]}
    return [r for r in records if r.identity.fingerprint == held[r.identity.seed_index]], strays


def _is_unsupported(cells: list[CellRecord]) -> bool:
    return any(cell.status == "unsupported" for cell in cells)


def _is_whole(cells: list[CellRecord], seeds: tuple[int, ...]) -> bool:
    return bool(seeds) and tuple(c.identity.seed_index for c in cells if c.status == "ok") == seeds


def values_of(facts: BoardFacts, cells: list[CellRecord], rows: Rows) -> dict[str, NDArray[np.float64]]:
    """metric -> [T, n_k] over all slices of tasks; a task that was drawn several times is the mean over its draws."""
    n_k, slices = len(facts.shots), slices_of(facts, cells)
    columns = [[rows(cell) for cell in draws] for draws in slices]
    found = {}
    for name in columns[0][0].keys() - {"task", "k"}:
        by_slice = [[np.asarray(one[name], dtype=np.float64).reshape(n_k, -1).T for one in draws] for draws in columns]
        found[name] = np.concatenate([draws[0] if len(draws) == 1 else np.mean(draws, 0) for draws in by_slice])
    return dict(sorted(found.items()))


def slices_of(facts: BoardFacts, cells: Sequence[CellRecord]) -> list[list[CellRecord]]:
    """The cells of each disjoint set of tasks: one, or its several draws."""
    found: dict[int, list[CellRecord]] = {}
    for cell in cells:
        found.setdefault(cell.identity.seed_index % (facts.n_seeds // facts.draws), []).append(cell)
    return [found[number] for number in sorted(found)]


def _rows(
    facts: BoardFacts,
    values: dict[str, dict[str, NDArray[np.float64]]],
    cells: dict[str, list[CellRecord]],
    spread: dict[str, float],
    trivial: Sequence[str],
    ranked: bool,
) -> list[Row]:
    names = sorted(values)
    some = cells[names[0]]
    slices = slices_of(facts, some)
    seed_of_task = np.repeat(np.arange(len(slices)), [draws[0].n_tasks for draws in slices])
    bootstrap = Bootstrap(seed_of_task.tolist())
    later = [i for i, k in enumerate(facts.shots) if k >= 1]
    area = {name: values[name][facts.metric][:, later].mean(1) for name in names}
    contest = [name for name in names if name not in REFERENCES]
    order = compare(bootstrap, np.stack([area[name] for name in contest], 1), facts.higher_is_better) if contest else None
    ends = [float(area[name].mean()) for name in REFERENCES if name in area]
    made = []
    for name in names:
        curves, areas = {}, {}
        for metric, matrix in values[name].items():
            *points, areas[metric] = bootstrap.intervals(np.column_stack([matrix, matrix[:, later].mean(1)]))
            curves[metric] = dict(zip(facts.shots, points, strict=True))
        _add_whole(facts, cells[name], curves, areas)
        at = contest.index(name) if name in contest else None
        asked = order is not None and at is not None and name not in TRIVIAL and bool(trivial)
        made.append(
            Row(
                name,
                went_on(cells[name]),
                curves,
                area=areas,
                seed_spread=spread[name] if name in contest else float("nan"),
                gain=(areas[facts.metric].mean - ends[0]) / (ends[1] - ends[0]) if len(ends) == 2 else None,
                rank=order.rank(at) if ranked and order is not None and at is not None else None,
                trials=tuple(sorted({int(cell.tuning["trials"]) for cell in cells[name] if cell.tuning})),
                staleness=None if name in REFERENCES else staleness(facts, values[name], later, seed_of_task),
                beats_trivial=all(order.better[at, contest.index(t)] for t in trivial) if asked and order else None,
            )
        )
    return made


def _spread(facts: BoardFacts, cells: list[CellRecord], rows: Rows) -> float:
    """Standard deviation of the area between seeds; where several ask the same tasks, between such draws of all of them."""
    later, draws = [k >= 1 for k in facts.shots], dict[int, list[NDArray[np.float64]]]()
    for cell in cells:
        draw = cell.identity.seed_index // (facts.n_seeds // facts.draws if facts.draws > 1 else 1)
        by_k = np.asarray(rows(cell)[facts.metric], dtype=np.float64).reshape(len(facts.shots), -1)
        draws.setdefault(draw, []).append(by_k[later].mean(0))
    areas = [float(np.concatenate(tasks).mean()) for tasks in draws.values()]
    return float(np.std(areas, ddof=1)) if len(areas) > 1 else float("nan")


def _add_whole(facts: BoardFacts, cells: list[CellRecord], curves: dict[str, dict[int, Interval]], areas: dict[str, Interval]) -> None:
    """Figures that only a whole cell has (coverage): the mean over seeds, with no interval."""
    for metric in facts.metrics:
        if metric not in curves and all(metric in cell.summary for cell in cells):
            mean = {k: float(np.mean([cell.summary[metric][k] for cell in cells])) for k in facts.shots}
            curves[metric] = {k: Interval(value, float("nan"), float("nan")) for k, value in mean.items()}
            later = float(np.mean([value for k, value in mean.items() if k >= 1]))
            areas[metric] = Interval(later, float("nan"), float("nan"))


def _area(row: Row, metric: str) -> float:
    assert row.area is not None
    return row.area[metric].mean


def _counts(facts: BoardFacts, first: dict[int, CellRecord], seeds: tuple[int, ...]) -> dict[str, int]:
    summed = ("test", "validation", "test_without_relevant_query", "dropped")
    counts = dict(first[seeds[0]].counts) if seeds else {}
    slices = slices_of(facts, [first[seed] for seed in seeds])
    for name in summed:
        if name in counts:
            counts[name] = sum(draws[0].counts[name] for draws in slices)
    return counts
