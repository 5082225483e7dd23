"""Local csv, text and JSON-lines files as Arrow tables, through Hugging Face `datasets`, without its network or its caches."""

from __future__ import annotations

import csv
import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from benchmark.data.checking import plain
from benchmark.data.coding import Ints
from benchmark.errors import DataError

ROWS_AT_ONCE = 200_000
_AGAIN = "put the published file there again"


@contextmanager
def comma_separated(path: Path, columns: dict[str, str], header: bool) -> Iterator[pa.Table]:
    """The named columns, each with its Arrow type; with no header they must be all that there are, in this order."""
    found = _fields(path, header)
    if (header and not set(columns) <= set(found)) or (not header and len(found) != len(columns)):
        said = "has the columns" if header else f"has {len(found)} columns in its first row,"
        raise DataError(f"{path.name} {said} {found}, wanted {list(columns)}; {_AGAIN}")
    from datasets import Features, Value

    features = Features({name: Value(kind) for name, kind in columns.items()})
    more: dict[str, Any] = {"usecols": list(columns)} if header else {"column_names": list(columns)}
    with _loaded("csv", path, str(list(columns)), features=features, na_filter=False, chunksize=ROWS_AT_ONCE, **more) as table:
        yield table


@contextmanager
def lines(path: Path) -> Iterator[pa.ChunkedArray]:
    """The lines of a text file."""
    with _loaded("text", path, "lines of text") as table:
        yield table.column("text")


@contextmanager
def json_lines(path: Path, columns: dict[str, pa.DataType]) -> Iterator[Iterator[pa.Table]]:
    """One JSON object a line: tables with the named columns alone, null where an object lacks one.

    `datasets` reads the lines; Arrow takes the columns out of them, for a reader that infers the others stumbles over
    fields that are a text here and a list there.
    """
    options = pa.json.ParseOptions(explicit_schema=pa.schema(list(columns.items())), unexpected_field_behavior="ignore")

    def parsed(text: pa.ChunkedArray) -> Iterator[pa.Table]:
        for chunk in text.chunks:
            for start in range(0, len(chunk), ROWS_AT_ONCE):
                content = "\n".join(chunk.slice(start, ROWS_AT_ONCE).to_pylist()).encode()
                try:
                    # One block: a row must not straddle two.
                    reading = pa.json.ReadOptions(block_size=len(content) + 1)
                    yield pa.json.read_json(io.BytesIO(content), read_options=reading, parse_options=options)
                except pa.ArrowInvalid as error:
                    raise DataError(f"{path.name} cannot be read as JSON lines with {list(columns)} ({error}); {_AGAIN}") from None

    with lines(path) as text:
        yield parsed(text)


def codes(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Raw ids [N] as numbers from 0 to n - 1, and the n ids that they stand for, rising."""
    encoded = pc.dictionary_encode(column)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    return rank[encoded.indices.to_numpy(zero_copy_only=False)], encoded.dictionary.take(order)


def _fields(path: Path, header: bool) -> list[str]:
    """The fields of the first line, which is refused where no row stands in it or, under a header, after it."""
    try:
        with plain(path) as opened:
            line = opened.readline().decode()
            has_row = bool(line.strip()) and (not header or any(row.strip() for row in opened))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read ({error}); {_AGAIN}") from None
    if not has_row:
        raise DataError(f"{path.name} is empty: it has no rating row; {_AGAIN}")
    return next(csv.reader([line.removeprefix("\ufeff")]))


@contextmanager
def _loaded(builder: str, path: Path, wanted: str, **options: Any) -> Iterator[pa.Table]:
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty: it has no row; {_AGAIN}")
    with tempfile.TemporaryDirectory(prefix="coldstart-") as folder, _quiet():
        from datasets import load_dataset

        try:
            made = load_dataset(builder, data_files=str(path), split="train", cache_dir=folder, **options)
        except Exception as error:  # `datasets` wraps whatever its readers raise in errors of its own
            raise DataError(f"{path.name} cannot be read as {wanted} ({_root(error)}); {_AGAIN}") from None
        yield made.data.table
        del made


def _root(error: BaseException) -> str:
    """What went wrong at the bottom, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """`datasets` as a reader of files: it neither asks the hub, nor counts, nor draws bars, nor logs; then as it was."""
    import datasets
    from datasets import config
    from datasets.utils import logging

    before = (config.HF_HUB_OFFLINE, config.HF_UPDATE_DOWNLOAD_COUNTS, logging.get_verbosity(), datasets.are_progress_bars_disabled())
    config.HF_HUB_OFFLINE, config.HF_UPDATE_DOWNLOAD_COUNTS = True, False
    logging.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, config.HF_UPDATE_DOWNLOAD_COUNTS = before[:2]
        logging.set_verbosity(before[2])
        if not before[3]:
            datasets.enable_progress_bars()
