"""`tune` from end to end: studies side by side, their trials in worker processes, tuned files, a table.

A study looks at the validation entities of one seed. Where they are test entities of another seed (a
small data set, whose slices are all tested), that seed gets a study of its own. What trains a study's
models is that seed's training set: entities that other seeds test are in it, as in any training set,
and no score of theirs is ever looked at.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from benchmark.data import store as data
from benchmark.data.catalogue import source
from benchmark.data.checking import way_to
from benchmark.errors import UsageError
from benchmark.files import checked_folder, write_atomic
from benchmark.protocol import boards
from benchmark.protocol.boards import Board
from benchmark.protocol.tracks import published_entities
from benchmark.running import plan, tuned
from benchmark.running.run import split
from benchmark.running.tuned import Study as Found
from benchmark.tuning.compare import compare
from benchmark.tuning.space import space
from benchmark.tuning.study import Budget, Study
from benchmark.tuning.trials import Search, run_all


@dataclass(frozen=True)
class Request:
    """A `tune` command as typed."""

    methods: tuple[str, ...]  # none: every method
    boards: tuple[str, ...]
    datasets: tuple[str, ...]
    budget: Budget
    device: str
    workers: int | None
    out: Path
    data_dir: Path | None
    seeds: int | None = None  # how many of a board's seeds the comparison on test entities runs


def tune(request: Request) -> int:
    """Searches, writes the tuned files and prints tuned against default; returns the exit code."""
    plan.checked_device(request.device)
    searches = _searches(request)
    for one in searches:
        space(one.entry)  # an empty range is said before anything runs
    workers = 1 if request.device == "cuda" else len(os.sched_getaffinity(0))
    if request.workers is not None:
        workers = plan.checked_count("--workers", request.workers)
    checked_folder(request.out)
    studies = [(one, _study(one, request)) for one in searches]
    na = run_all(studies, workers, request.device)
    done = [one for one in searches if one.label not in na]
    for one in done:
        _write(one, request)
    asked = [(one.board, one.dataset, one.entry.name) for one in done]
    text, bad = compare(request.out, asked, na, request.device, workers, request.data_dir, request.seeds)
    print(text)
    return 1 if bad else 0


def _searches(request: Request) -> list[Search]:
    entries = plan.known_methods(list(request.methods), [])
    chosen = {name: boards.load(name) for name in request.boards}
    plan.check_boards(chosen)
    plan.check_datasets(list(chosen.values()), request.datasets)
    found = []
    for name, board in chosen.items():
        for dataset in [d for d in board.datasets if not request.datasets or d in request.datasets]:
            if data.find(dataset, request.data_dir) is None:
                if dataset in request.datasets:
                    raise UsageError(f"data set '{dataset}' is not here; {way_to(source(dataset))} ({source(dataset).terms})")
                continue
            data.verify(dataset, request.data_dir)
            for seed_index, seeds in studies_of(name, board, dataset, request.data_dir).items():
                found += [Search(name, dataset, entry, seed_index, seeds, request.data_dir, request.device) for entry in entries]
    if not found:
        raise UsageError("nothing to tune: none of these boards' data sets is here")
    return found


def studies_of(name: str, board: Board, dataset: str, data_dir: Path | None) -> dict[int, tuple[int, ...]]:
    """seed whose validation entities are searched on -> seeds that never test one of them.

    The last seed's study serves every seed but those that test its validation slice; where there are such,
    the first of them has a study that serves it and what is left. On the track `drift` the rows that a later
    window validates on are those that an earlier one tests, so what comes before the first window serves all.
    """
    every = plan.seed_indices(board, dataset, None)
    if board.track == "drift":
        return {0: tuple(every)}
    splits = {seed: split(name, dataset, seed, data_dir, "cpu") for seed in every}
    if not len(splits[every[-1]].validation):
        raise UsageError(f"board '{board.name}' on '{dataset}' has no validation entities, so nothing can be tuned on it")
    tested = {seed: published_entities(one, one.test) for seed, one in splits.items()}
    left, found, studied = list(every), {}, every[-1]
    while left:
        seen = published_entities(splits[studied], splits[studied].validation)
        found[studied] = tuple(seed for seed in left if not np.isin(tested[seed], seen).any())
        left = [seed for seed in left if seed not in found[studied]]
        studied = left[0] if left else studied
    return found


def _study(search: Search, request: Request) -> Study:
    board = boards.load(search.board).on(search.dataset)
    journal = request.out / "tuning" / board.name / search.dataset / f"{search.entry.name}-seed-{search.seed_index}.journal"
    print_ = _print(search)
    # Another split, another definition of the board or other code of the method is another study.
    name = f"{search.label}/{board.sha256[:12]}/{print_[:12]}/{plan.code_of(search.entry)[:12]}"
    distributions, defaults = space(search.entry)
    return Study(journal, name, distributions, defaults, request.budget)


def _print(search: Search) -> str:
    board = boards.load(search.board)
    return plan.fingerprints(board, search.dataset, plan.seed_indices(board, search.dataset, None), search.data_dir)[search.seed_index]


def _write(search: Search, request: Request) -> None:
    """Adds this study to the method's tuned file."""
    board = boards.load(search.board)
    file = tuned.path(request.out / tuned.FOLDER, board.name, search.dataset, search.entry.name)
    kept = {}
    with contextlib.suppress(UsageError):  # a torn file is made again: the journals hold the truth
        kept = {one.seed_index: one for one in (tuned.read(file) if file.is_file() else [])}
    kept[search.seed_index] = _study(search, request).found(search.seed_index, _print(search), search.seeds, plan.code_of(search.entry))
    table = {
        "method": search.entry.name,
        "board": board.name,
        "dataset": search.dataset,
        "budget": {"trials": request.budget.trials, "seconds": request.budget.seconds},
        "study": [_as_toml(one) for _, one in sorted(kept.items())],
    }
    write_atomic(file, tomli_w.dumps(table).encode())


def _as_toml(study: Found) -> dict[str, Any]:
    return study.model_dump(exclude_none=True)
