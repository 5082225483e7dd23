"""Tables as Markdown pages, as text for a terminal, and as rows for other programs.

Pure: no clock, no environment. Rounding happens here and nowhere before.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from benchmark.protocol.boards import ALL, k_label
from benchmark.records.schema import BoardFacts
from benchmark.reporting.statistics import Interval
from benchmark.reporting.tables import LOW_POWER, NO_TABLE, Row, Table

DASH = "—"
EXPORT_KEYS = ("board", "dataset", "method", "metric", "k", "mean", "low", "high", "n_tasks", "n_seeds")
ARROW = {True: "higher is better", False: "lower is better"}


def page(tables: Sequence[Table], beside: Mapping[tuple[str, str], Sequence[str]] | None = None) -> str:
    """The Markdown page of one board, a section a data set. All tables are of the same board.

    `beside` has lines to stand at the end of a section: (data set, hash of the board) -> lines.
    """
    facts = tables[0].facts
    lines = [
        f"# {plain(facts.title)}",
        "",
        f"Board `{tables[0].board}`. {plain(facts.description)}",
        "",
        f"Track `{facts.track}`, goal `{facts.goal}`, cut `{facts.cut}`, protocol {tables[0].protocol}. "
        f"Ordered by the mean of {facts.metric} over k >= 1 (area; {ARROW[facts.higher_is_better]}). Brackets hold 95% "
        "intervals, bootstrapped over tasks. A rank is an interval: the places a method may hold given which paired "
        "differences are significant (Holm). Gain is (area - chance) / (oracle - chance).",
    ]
    several = Counter(table.dataset for table in tables)
    for table in tables:
        version = f", board {table.board_sha256[:12]}, protocol {table.protocol}" if several[table.dataset] > 1 else ""
        lines += ["", f"## {table.dataset}{version}", "", *(f"- {line}" for line in _facts(table)), ""]
        lines += [_grid(table, "pipe"), "", _others(table, "pipe"), "", _staleness(table, "pipe"), "", _published(table, "pipe")]
        lines += ["", *(f"- `{plain(row.method)}` {plain(row.note)}" for row in table.rows if row.note)]
        lines += (beside or {}).get((table.dataset, table.board_sha256), ())
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def text(table: Table) -> str:
    """One table for a terminal."""
    facts = table.facts
    head = f"{table.board} on {table.dataset}: {facts.metric}, {ARROW[facts.higher_is_better]}"
    notes = [f"  {printable(row.method)} {printable(row.note)}" for row in table.rows if row.note]
    beside = [one for one in (_staleness(table, "simple"), _published(table, "simple")) if one]
    lines = [head, *(f"  {line}" for line in _facts(table)), "", _grid(table, "simple"), *(line for one in beside for line in ("", one))]
    lines += [*([""] if notes else []), *notes]
    return "\n".join(lines)


def export(table: Table) -> Iterator[dict[str, Any]]:
    """One row a number, with the keys of `EXPORT_KEYS`; `area` (the mean over k >= 1) has k = None."""
    for row in [*table.rows, *table.references]:
        for metric, curve in (row.curves or {}).items():
            for k, figure in curve.items():
                yield _exported(table, row.method, metric, k, figure)
        if row.area:
            yield _exported(table, row.method, "area", None, row.area[table.facts.metric])


def _exported(table: Table, method: str, metric: str, k: int | None, figure: Interval) -> dict[str, Any]:
    ends = [None if math.isnan(value) else value for value in (figure.low, figure.high)]
    values = (table.board, table.dataset, method, metric, k, figure.mean, *ends, table.n_tasks, len(table.seeds))
    return dict(zip(EXPORT_KEYS, values, strict=True)) | ({"k": "all"} if k == ALL else {})


def _facts(table: Table) -> list[str]:
    counts, facts = table.counts, table.facts
    seeds = f"{len(table.seeds)} of {facts.n_seeds} seeds" if len(table.seeds) < facts.n_seeds else f"{facts.n_seeds} seeds"
    times = len(table.seeds) * facts.draws // facts.n_seeds  # of the draws that are here
    asked = f", each asked {times} times" if times > 1 else ""
    lines = [f"{table.n_tasks:,} test tasks{asked} over {seeds}; {counts.get('catalogue', 0):,} candidates."]
    if counts:
        need, rest = _kept(facts)
        told = [need if facts.track == "drift" else f"Kept {counts['eligible']:,} entities {need}, and {counts['ineligible']:,} {rest}"]
        if counts.get("dropped"):
            told.append(f"dropped {counts['dropped']:,} entities of the test slices that lack rows of known or of new partners")
        if facts.goal == "ranking":
            told.append(f"dropped {counts.get('test_without_relevant_query', 0):,} test tasks without a relevant query row")
        lines.append("; ".join(told) + ".")
        if counts.get("repeats"):
            lines.append(f"Where a user rates an item again, her last rating stands: {counts['repeats']:,} rows of the file went.")
    if facts.n_seeds > len(table.seeds):
        lines.append(f"Incomplete: the board asks for {facts.n_seeds} seeds, so nobody is ranked.")
    window = " in a window" if facts.track == "drift" else ""
    if table.fewest_tasks < NO_TABLE:
        lines.append(f"No table: fewer than {NO_TABLE} test tasks{window}.")
    elif table.low_power:
        lines.append(f"Low power: fewer than {LOW_POWER} test tasks{window}.")
    if facts.synthetic:
        lines.append("Synthetic data: never part of an aggregate.")
    if table.mixed_code:
        lines.append("Some rows were made by another version of the harness; run the board again before comparing them.")
    if table.lacking:
        lines.append(
            f"`beats trivial` is not answered: {', '.join(table.lacking)} {'has' if len(table.lacking) == 1 else 'have'} no numbers here."
        )
    elif table.trivial:
        lines.append(f"`beats trivial`: significantly better than each of {', '.join(table.trivial)}.")
    if any(row.trials for row in table.rows):
        lines.append("`trials`: how many configurations were tried on validation entities; a dash stands for a row with its defaults.")
    return lines


def _kept(facts: BoardFacts) -> tuple[str, str]:
    """Who is asked, and what becomes of the others."""
    most = max(facts.shots)
    if facts.cut == "windows":
        return f"A task is an entity with {most} rows or more before a window and 5 or more in it", ""
    if facts.cut == "arrival":
        return f"who came last, of {most + 5} rows or more, 5 of them strictly later than what is shown", "who came last have fewer"
    if facts.shots == (ALL,):
        return "that the cut allows", "others are not asked"
    if facts.cut in ("mamo", "tanp"):  # these have an upper limit, or one of their own
        return "that the cut allows", "others stay in training"
    where = " in the target domain" if facts.track == "cross-domain" else ""
    return f"of {most + 5} rows or more{where}", "with fewer stay in training"


def _grid(table: Table, form: str) -> str:
    """The primary metric: a column a k, the area with its interval."""
    facts = table.facts
    heads = ["rank", "method", *(f"k={k_label(k)}" for k in facts.shots), "area", "95%", "seeds ±", "gain", "beats trivial"]
    shown = [row for row in [*table.rows, *table.references] if row.curves]
    rows = [_line(row, facts, form) for row in shown]
    if any(row.trials for row in shown):
        heads.append("trials")
        rows = [[*line, "-".join(map(str, row.trials)) or DASH] for line, row in zip(rows, shown, strict=True)]
    return tabulate(rows, heads, tablefmt=form, disable_numparse=True, colalign=_align(len(heads), 2)) if rows else ""


def _line(row: Row, facts: BoardFacts, form: str) -> list[str]:
    assert row.curves is not None
    assert row.area is not None
    area = row.area[facts.metric]
    rank = DASH if row.rank is None else str(row.rank[0]) if row.rank[0] == row.rank[1] else f"{row.rank[0]}-{row.rank[1]}"
    return [
        rank,
        _name(row.method, form),
        *(number(row.curves[facts.metric][k].mean) for k in facts.shots),
        number(area.mean),
        f"[{number(area.low)}, {number(area.high)}]",
        number(row.seed_spread),
        DASH if row.gain is None else f"{row.gain:.3f}".replace("-0.000", "0.000"),
        {None: DASH, True: "yes", False: "no"}[row.beats_trivial],
    ]


def _others(table: Table, form: str) -> str:
    """The other metrics, each as its mean over k >= 1."""
    facts = table.facts
    names = [name for name in facts.metrics if name != facts.metric]
    rows = [
        [_name(row.method, form), *(_cell(row.area.get(name)) for name in names)] for row in [*table.rows, *table.references] if row.area
    ]
    heads = ["mean over k >= 1", *names]
    return tabulate(rows, heads, tablefmt=form, disable_numparse=True, colalign=_align(len(heads), 1)) if rows else ""


def _staleness(table: Table, form: str) -> str:
    """Refitted and frozen in each window, and what the refits gain."""
    rows = [(row, row.staleness) for row in table.rows if row.staleness is not None]
    if not rows:
        return ""
    windows = range(len(rows[0][1].refitted))
    cells = []
    for row, one in rows:
        pairs = [f"{number(one.refitted[w])} / {number(one.frozen[w])}" for w in windows]
        cells.append([_name(row.method, form), *pairs, _cell(one.gain)])
    heads = ["refitted / frozen", *(f"window {w + 1} ({rows[0][1].n_tasks[w]} tasks)" for w in windows), "refits gain after window 1"]
    return tabulate(cells, heads, tablefmt=form, disable_numparse=True, colalign=_align(len(heads), 1))


def _published(table: Table, form: str) -> str:
    """What a preset's paper says, beside what was reached here."""
    facts, rows = table.facts, []
    here = {row.method: row.area or {} for row in table.rows}
    for method, figures in facts.published.items():
        for metric, figure in figures.items():
            ours = here.get(method, {}).get(metric)
            gap = DASH if ours is None else f"{ours.mean - figure:+.4f}"
            called = _name(facts.called.get(method, method), form)
            rows.append([called, _name(method, form), metric, number(figure), _cell(ours), gap])
    heads = ["there called", "method", "metric", "published", "here", "difference"]
    return tabulate(rows, heads, tablefmt=form, disable_numparse=True, colalign=_align(len(heads), 3)) if rows else ""


def _align(n: int, left: int) -> list[str]:
    return ["left"] * left + ["right"] * (n - left)


def _cell(figure: Interval | None) -> str:
    if figure is None:
        return DASH
    if math.isnan(figure.low):
        return number(figure.mean)
    return f"{number(figure.mean)} [{number(figure.low)}, {number(figure.high)}]"


def number(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.4f}".replace("-0.0000", "0.0000")


def _name(method: str, form: str) -> str:
    return plain(method) if form == "pipe" else printable(method)


def plain(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    return re.sub(
        r"([\\`*_{}\[\]<>()#+!|&~])", lambda found: f"&#{ord(found[1])};" if found[1] in "<>&|`[]" else "\\" + found[1], printable(text)
    )


def printable(text: str) -> str:
    """Control characters and line breaks as spaces: a name may not move the cursor."""
    return "".join(one if one.isprintable() else " " for one in text)
