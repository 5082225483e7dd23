"""What Amazon publishes of an item: brand and categories as words, and a sentence from its title and description."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.data.dataset import Side, Words
from benchmark.data.reading import json_lines

DESCRIPTION = 200  # characters of it that are kept
_TAG = re.compile(r"<[^>]*>?")


@dataclass(frozen=True)
class Fields:
    """What one edition calls things."""

    item: str
    brand: str
    categories: str
    main: str = ""  # the one category of an item whose list of them is empty


FIELDS_2018 = Fields("asin", "brand", "category")
FIELDS_2023 = Fields("parent_asin", "store", "categories", "main_category")


def items(ids: pa.Array, metadata: Path | None, fields: Fields) -> Side:
    """The items with these raw ids, and what a file of metadata says of them; the first line of an item counts."""
    side = Side.bare(np.arange(len(ids)))
    if metadata is None:
        return side
    texts = [fields.item, "title", fields.brand, *([fields.main] if fields.main else [])]
    columns = dict.fromkeys(texts, pa.string()) | dict.fromkeys([fields.categories, "description"], pa.list_(pa.string()))
    text, index, word = [""] * len(ids), list[int](), list[str]()
    told = np.zeros(len(ids), dtype=bool)
    with json_lines(metadata, columns) as tables:
        for table in tables:
            known = pc.index_in(table.column(fields.item), value_set=ids).combine_chunks()
            rows = np.flatnonzero(known.is_valid().to_numpy(zero_copy_only=False))
            codes, first = np.unique(known.take(rows).to_numpy(zero_copy_only=False).astype(np.int64), return_index=True)
            new = ~told[codes]
            told[codes] = True
            for code, line in zip(codes[new].tolist(), table.take(rows[first[new]]).to_pylist(), strict=True):
                text[code], words = _item(line, fields)
                index += [code] * len(words)
                word += words
    if not told.any():
        return side
    coded, vocabulary = pd.factorize(np.array(word, dtype=object), sort=True)
    order = np.lexsort((coded, np.array(index, dtype=np.int64)))
    words_of = Words(np.array(index, dtype=np.int64)[order], coded.astype(np.int64)[order], tuple(map(str, vocabulary)))
    return replace(side, text=tuple(text), words=words_of)


def _item(line: dict[str, Any], fields: Fields) -> tuple[str, list[str]]:
    """An item's sentence, and its words, each once."""
    title = "" if (line["title"] or "").lstrip().startswith("<") else _clean(line["title"])
    brand = _clean(line[fields.brand])
    named = line[fields.categories] or ([line[fields.main]] if fields.main else [])
    categories = list(dict.fromkeys(filter(None, map(_clean, named))))
    description = _clean(" ".join(filter(None, line["description"] or [])))[:DESCRIPTION].rstrip()
    sentence = ". ".join(filter(None, (title, brand, ", ".join(categories), description)))
    return sentence, [*_prefixed("brand", [brand]), *_prefixed("category", categories)]


def _prefixed(kind: str, values: Iterable[str]) -> list[str]:
    return [f"{kind}: {value}" for value in values if value]


def _clean(raw: str | None) -> str:
    """Without left-over tags, with entities as characters, on one line."""
    return " ".join(html.unescape(_TAG.sub(" ", raw or "")).split())
