"""Shared pieces of the tests: isolated caches, and the oracle worlds as splits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from benchmark.contract import Learner
from benchmark.data import store, synthetic
from benchmark.data.dataset import Dataset
from benchmark.evaluation.evaluate import validator
from benchmark.protocol import boards, tracks
from benchmark.protocol.boards import Board, Pin
from benchmark.protocol.tracks import Split
from benchmark.running.methods import build, entry

torch.set_num_threads(1)

READ_CONTENT = ("melu", "prompt_tuning_text", "content_ridge", "content_knn", "clcrec")  # n/a with nothing known of the partners
TWO_DOMAINS = ("emcdr", "ptupcdr")  # n/a with one
SHOTS = (0, 1, 2, 5, 10)


def board(goal: str, shots: tuple[int, ...] = SHOTS) -> Board:
    """A board of the user track without pins, for data made in a test."""
    published = boards.load(f"user-{goal}")
    return replace(published, name=f"test-{goal}", shots=shots, datasets={"any": Pin(5, ())})


@lru_cache
def two_domains() -> Split:
    """The synthetic world of the track `cross-domain`."""
    return tracks.cut(boards.load("cross-domain-ranking"), store.load("synthetic-cross-domain"), 0)


@pytest.fixture(scope="session")
def oracle() -> Callable[..., Split]:
    """oracle("checkerboard", "ranking") -> its split, made once; for a method that reads content, of the described world.

    Methods that carry over from another domain get a world of two, where there is one for the goal.
    """
    made: dict[tuple[str, str, bool], Split] = {}

    def make(world: str, goal: str, method: str = "") -> Split:
        if method in TWO_DOMAINS and (world, goal) == ("interaction", "ranking"):
            return two_domains()
        key = (world, goal, method in READ_CONTENT)
        if key not in made:
            dataset: Dataset = getattr(synthetic, world)(**({"described": True} if method in READ_CONTENT else {}))
            made[key] = tracks.cut(board(goal), dataset, 0)
        return made[key]

    return make


@pytest.fixture(scope="session")
def many() -> Callable[[str], Split]:
    """many("rating") -> the interaction world with warm users for meta-batches of more than a thousand tasks."""
    made: dict[str, Split] = {}

    def make(goal: str) -> Split:
        if goal not in made:
            made[goal] = tracks.cut(board(goal), synthetic.interaction(n_users=4800), 0)
        return made[goal]

    return make


@pytest.fixture(scope="session")
def fitted(oracle: Callable[..., Split]) -> Callable[[str, str, str], Learner]:
    """fitted("maml", "interaction", "rating") -> the learner of that method on its oracle world, fitted once."""
    made: dict[tuple[str, str, str], Learner] = {}

    def make(name: str, world: str, goal: str) -> Learner:
        if (name, world, goal) not in made:
            split = oracle(world, goal, name)
            made[name, world, goal] = build(entry(name)).fit(split.world, split.seed, validator(split))
        return made[name, world, goal]

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the archives that may not be redistributed; skips where it is not given."""
    folder = os.environ.get("COLDSTART_DATA")
    if not folder or not (Path(folder) / "ml-1m.zip").is_file():
        pytest.skip("needs ml-1m.zip and ml-100k.zip in the folder that COLDSTART_DATA names")
    return Path(folder)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test."""
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
