"""Oracle worlds: small data sets whose right answer is known, to judge every method and the harness.

All are generated from a seed, complete in themselves, and marked synthetic. Nothing is known of
anyone but the ratings, unless a world is asked to be `described`: its items then publish what decides
about them, as features and in words, for methods that read content.

Two worlds are data sets of the catalogue, so that the tracks `cross-domain` and `drift` run where no other data is. Their
splits are pinned, and so they draw from NumPy's old generator: its stream is promised never to change.
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


def two_domains(_: object = None, n_users: int = 800, n_items: int = 150, rows: int = 18) -> Dataset:
    """Events in two domains of `n_items` each: one taste in three dimensions moves a user in both, in other words in the second.

    An item is met the likelier the more popular it is and the better it fits.
    """
    luck = np.random.RandomState(2014)
    taste, facts, popular = luck.normal(size=(n_users, 3)), luck.normal(size=(2, n_items, 3)), luck.normal(size=(2, 1, n_items))
    wish = popular + taste @ facts.transpose(0, 2, 1) + luck.gumbel(size=(2, n_users, n_items))
    item = np.argsort(-wish, axis=2)[:, :, :rows] + np.array([0, n_items])[:, None, None]  # [2, n_users, rows]
    user = np.broadcast_to(np.arange(n_users)[:, None], item.shape[1:])
    columns = (np.stack([user, user]).ravel().astype(np.int64), item.ravel().astype(np.int64))
    made = _complete(
        "synthetic-cross-domain", (*columns, np.ones(item.size, np.float32), np.zeros(item.size, np.int64)), 2 * n_items, (0.0, 1.0)
    )
    return replace(made, implicit=True, clock=False, domain=np.repeat(np.arange(2), n_items), domains=("target", "source"))


def drifting(_: object = None, n_users: int = 400, n_items: int = 200, rows: int = 70, days: int = 1000) -> Dataset:
    """Ratings 1 to 5 over `days`: every taste turns by a quarter of a circle, and items come and go.

    An item has an angle, a user one that moves with time, and what she thinks is the cosine between them.
    """
    luck = np.random.RandomState(2015)
    day = np.sort(luck.randint(0, days, size=(n_users, 3 * rows)), axis=1)
    here = luck.randint(0, n_items, size=day.shape)
    born, angle = luck.uniform(-0.5, 0.9, n_items) * days, luck.uniform(0, 2 * np.pi, n_items)
    start, pace = luck.uniform(0, 2 * np.pi, (n_users, 1)), luck.choice([-1, 1], (n_users, 1)) * np.pi / 2 / days
    like = np.cos(start + pace * day - angle[here])
    alive = (day >= born[here]) & (day < born[here] + 0.7 * days)
    met = alive & (luck.uniform(size=day.shape) < 0.5 + 0.4 * like)  # what is liked is met more often
    rating = np.clip(np.rint(3.4 + 1.3 * like + 0.6 * luck.normal(size=day.shape)), 1, 5)
    user, place = np.nonzero(met)
    pair = user * n_items + here[met]
    first = np.sort(np.unique(pair, return_index=True)[1])  # a user rates an item once
    columns = (user[first], here[met][first], rating[met][first].astype(np.float32), day[user, place][first] * 86_400)
    return _complete("synthetic-drift", columns, n_items, (1.0, 5.0))


def power_law(n_rows: int, rows_per_user: float = 100.0, n_items: int = 200_000, seed: int = 0) -> tuple[NDArray[np.int32], ...]:
    """About `n_rows` interactions as raw columns (user, item, rating, time) in the order of arrival, to try a machine's limits.

    A user's number of rows and an item's popularity follow power laws; ids are published ones, with holes. Linear in the rows.
    """
    luck = np.random.default_rng(seed)
    n_users = max(1, round(1.06 * n_rows / rows_per_user))  # the longest histories are cut
    n = np.minimum(5 + (luck.pareto(1.5, n_users) * (rows_per_user - 5) / 2).astype(np.int64), 20_000)
    user = np.repeat(np.arange(n_users, dtype=np.int32), n)
    place = (np.arange(len(user)) - np.repeat(np.cumsum(n) - n, n)).astype(np.int32)
    # Rising quantiles of the popularity, one from each n-th part: an item met twice moves to the next one.
    quantile = (place + luck.random(len(user), dtype=np.float32)) / n[user].astype(np.float32)
    item = (n_items * quantile**4).astype(np.int32)
    free = item.astype(np.int64) - place + user.astype(np.int64) * (2 * n_items)
    np.maximum.accumulate(free, out=free)
    item = (free - user.astype(np.int64) * (2 * n_items)).astype(np.int32) + place
    del free, place, quantile
    came = np.argsort(luck.integers(0, 2**16, len(user), dtype=np.uint16), kind="stable")  # arrivals of all users mingle
    rating = luck.integers(1, 6, len(user), dtype=np.int32)
    return user[came] * 3 + 1, item[came] * 2 + 7, rating, np.arange(len(user), dtype=np.int32)


def _complete(
    name: str,
    rows: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]],
    n_items: int,
    scale: tuple[float, float],
) -> Dataset:
    """The data set of `rows` (user, item, rating, time), of whose sides nothing is known; the catalogue gives it its hash."""
    sides = Side.bare(np.arange(int(rows[0].max()) + 1, dtype=np.int64)), Side.bare(np.arange(n_items, dtype=np.int64))
    return replace(build(name, "", rows, sides, scale), synthetic=True)


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
