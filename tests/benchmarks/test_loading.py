"""ML-1M from its published files, and from cached columns, beside pandas reading ratings.dat alone.

Ours also reads users and films, codes the ids, puts the rows in order and checks them; from the cache it checks every hash.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from benchmark.data import movielens, store
from benchmark.data.catalogue import SOURCES

pytestmark = pytest.mark.data
ENGINES = {
    "pandas, Python engine": lambda path: pd.read_csv(path, sep="::", header=None, engine="python"),
    "pandas, C engine": lambda path: pd.read_csv(path, sep=":", header=None, engine="c", usecols=[0, 2, 4, 6]),
}


@pytest.fixture(scope="module")
def files(real_data):
    """The published files of ML-1M, unpacked."""
    with store.opened(SOURCES["ml-1m"], store.find("ml-1m", real_data)) as found:
        yield found


def same_rows(dataset, frame):
    frame = frame.set_axis(["user", "item", "rating", "time"], axis=1).sort_values(["user", "item"])
    columns = dataset.users.ids[dataset.user], dataset.items.ids[dataset.item], dataset.rating, dataset.time
    return all(np.array_equal(ours, theirs) for ours, theirs in zip(columns, frame.to_numpy().T, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_parse(beside, timed, files, tmp_path, engine):
    if not timed:
        few = tmp_path / "ratings.dat"
        with files["ml-1m/ratings.dat"].open("rb") as opened:
            few.write_bytes(b"".join(itertools.islice(opened, 5_000)))
        files = {**files, "ml-1m/ratings.dat": few}
    path = files["ml-1m/ratings.dat"]
    found, wanted = beside("ML-1M, parsed", lambda: movielens.ml_1m(files), lambda: ENGINES[engine](path), reference=engine, rounds=5)
    assert same_rows(found, wanted)


@pytest.mark.parametrize("engine", ENGINES)
def test_cached(beside, real_data, files, own_cache, engine):
    store.load("ml-1m", real_data)
    path = files["ml-1m/ratings.dat"]
    found, wanted = beside(
        "ML-1M, cached columns", lambda: store.load("ml-1m", real_data), lambda: ENGINES[engine](path), reference=engine, rounds=5
    )
    assert same_rows(found, wanted)
