"""Oracle worlds: small data sets whose right answer is known, to judge every method and the harness.

All are generated from a seed, complete in themselves, and marked synthetic. Nothing is known of
anyone but the ratings, unless a world is asked to be `described`: its items then publish what decides
about them, as features and in words, for methods that read content.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, Side, build

Floats = NDArray[np.float64]


def checkerboard(n_users: int = 400, n_items: int = 60, rows: int = 40, seed: int = 0, described: bool = False) -> Dataset:
    """Even users like even items (5) and no odd ones (1); odd users the reverse.

    Nothing but the support tells them apart: at 0 shots no method can be right, at 5 each can.
    """
    rating = np.where((np.arange(n_users)[:, None] + np.arange(n_items)) % 2 == 0, 5.0, 1.0)
    made = _sample("synthetic-checkerboard", rating, rows, (1.0, 5.0), seed)
    return _describe(made, np.where(np.arange(n_items) % 2 == 0, 1.0, -1.0)[:, None]) if described else made


def additive(n_users: int = 600, n_items: int = 80, rows: int = 45, noise: float = 1.0, seed: int = 0, described: bool = False) -> Dataset:
    """rating = mean + user + item + noise, with variances in the ratio of the bias model's dampings.

    Damping 5 (entity) and 10 (partner) are then the posterior means: bias is the truth and nothing beats it.
    """
    luck = np.random.default_rng(seed)
    user, item = luck.normal(0, noise / 5**0.5, (n_users, 1)), luck.normal(0, noise / 10**0.5, n_items)
    rating = 5.0 + user + item
    made = _sample("synthetic-additive", rating + luck.normal(0, noise, rating.shape), rows, (0.0, 10.0), seed)
    # What is told of an item here decides nothing: its quality in words would beat damped means for good reason.
    return _describe(made, np.random.default_rng(seed + 1).normal(0, 1, (n_items, 2))) if described else made


def interaction(
    n_users: int = 600, n_items: int = 80, rows: int = 45, noise: float = 0.3, seed: int = 0, described: bool = False
) -> Dataset:
    """rating = mean + <user, item> in two dimensions + noise: biases know nothing of it."""
    luck = np.random.default_rng(seed)
    user, item = luck.normal(0, 1, (n_users, 2)), luck.normal(0, 1, (n_items, 2))
    rating = 5.0 + user @ item.T + luck.normal(0, noise, (n_users, n_items))
    made = _sample("synthetic-interaction", rating, rows, (0.0, 10.0), seed)
    return _describe(made, item) if described else made


def linear(n_users: int = 400, n_items: int = 80, rows: int = 45, width: int = 4, seed: int = 0) -> Dataset:
    """rating = <weights of the user, published features of the item>, without noise."""
    luck = np.random.default_rng(seed)
    features = luck.normal(0, 1, (n_items, width)).astype(np.float32)
    rating = 5.0 + luck.normal(0, 0.5, (n_users, width)) @ features.T
    dataset = _sample("synthetic-linear", rating, rows, (0.0, 10.0), seed)
    return replace(dataset, items=replace(dataset.items, dense=features))


def _describe(dataset: Dataset, facts: Floats) -> Dataset:
    """The data set with `facts` [n_items, D] of its items as dense features and as a sentence each."""
    words = (("red", "blue"), ("loud", "quiet"))
    text = tuple(" ".join(pair[int(value < 0)] for value, pair in zip(row, words, strict=False)) for row in facts)
    name, items = f"{dataset.name}-described", replace(dataset.items, dense=facts.astype(np.float32), text=text)
    return replace(dataset, name=name, items=items)


def _sample(name: str, rating: Floats, rows: int, scale: tuple[float, float], seed: int) -> Dataset:
    """`rows` random items of every user, clipped to the scale."""
    n_users, n_items = rating.shape
    luck = np.random.default_rng([seed, 1])
    item = np.argsort(luck.random(rating.shape), axis=1)[:, :rows]
    value = np.clip(np.take_along_axis(rating, item, 1), *scale).astype(np.float32)
    user = np.repeat(np.arange(n_users, dtype=np.int64), rows)
    digest = hashlib.sha256(value.tobytes() + item.tobytes()).hexdigest()
    sides = (Side.bare(np.arange(n_users, dtype=np.int64)), Side.bare(np.arange(n_items, dtype=np.int64)))
    columns = (user, item.ravel().astype(np.int64), value.ravel(), np.zeros(len(user), dtype=np.int64))
    return replace(build(name, digest, columns, sides, scale), synthetic=True)
