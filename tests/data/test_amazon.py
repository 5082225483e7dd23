"""Amazon's loaders on small files written here: what comes out, and what is said of files that are not what they should be."""

from __future__ import annotations

import gzip
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import amazon, amazon_2023, amazon_sequences, store
from benchmark.data.catalogue import source
from benchmark.data.dataset import Dataset
from benchmark.errors import DataError
from tests.data.test_catalogue import same

RATINGS = "B2,u1,5.0,1000000300\nB1,u2,3.0,1000000100\nB1,u1,2.0,1000000200\nB2,u1,1.0,1000000100\nB3,u2,4.0,1000000000\n"
METADATA = [
    {
        "asin": "B1",
        "title": "<span class=",
        "brand": "Tom &amp; Co",
        "category": ["Tools", "Saws &amp; Blades", "Tools"],
        "description": ["A <b>saw</b>."],
    },
    {"asin": "B1", "title": "a second line of B1", "brand": "Other", "category": [], "description": []},
    {"asin": "B9", "title": "never rated", "brand": "", "category": ["Tools"], "description": [], "rank": ["a list here"]},
    {"asin": "B2", "title": "Hammer", "brand": "", "category": ["Tools"], "description": ["x" * 300], "rank": "a text there"},
]
CATEGORY = "amazon-2023-gift-cards"
RATINGS_2023 = "amazon-2023/benchmark/0core/rating_only/Gift_Cards.csv"
METADATA_2023 = "amazon-2023/raw/meta_categories/meta_Gift_Cards.jsonl"
HEADER_2023 = "user_id,parent_asin,rating,timestamp\n"


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(plain) if path.suffix == ".gz" else plain)
    return path


def _lines(objects: list[dict]) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


def _rows(dataset: Dataset) -> list[tuple[int, int, float, int]]:
    return list(zip(dataset.user.tolist(), dataset.item.tolist(), dataset.rating.tolist(), dataset.time.tolist(), strict=True))


def _csv(folder: Path, content: str | bytes, name: str = "Saws.csv") -> Dataset:
    return amazon.ratings_2018({name: _write(folder / name, content)})


def _review(user: str, item: str, rating: object, time: object) -> dict:
    return {"reviewerID": user, "asin": item, "overall": rating, "unixReviewTime": time, "reviewText": "é", "style": {"a": 1}}


@pytest.mark.parametrize("name", ["Saws.csv", "Saws.csv.gz"])
def test_the_last_rating_stands_and_ids_are_sorted(tmp_path, name):
    made = _csv(tmp_path, RATINGS, name)
    assert _rows(made) == [(0, 0, 2.0, 1_000_000_200), (0, 1, 5.0, 1_000_000_300), (1, 0, 3.0, 1_000_000_100), (1, 2, 4.0, 1_000_000_000)]
    assert made.repeats == 1
    assert (made.users.ids.tolist(), made.items.ids.tolist()) == ([0, 1], [0, 1, 2])
    assert made.items.text == ()


def test_of_ratings_at_one_time_the_last_in_the_file_stands(tmp_path):
    made = _csv(tmp_path, "B1,u1,1.0,7\nB1,u1,4.0,7\nB1,u1,2.0,7\nB1,u1,5.0,6\n")
    assert _rows(made) == [(0, 0, 2.0, 7)]
    assert made.repeats == 3


def test_ids_of_digits_and_words_that_pandas_takes_for_nothing(tmp_path):
    made = _csv(tmp_path, "0007,NA,1.0,7\n7,nan,4.0,7\n")
    assert (len(made.users), len(made.items)) == (2, 2)


def test_metadata_become_words_and_text(tmp_path):
    files = {"Saws.csv": _write(tmp_path / "Saws.csv", RATINGS), "meta_Saws.json": _write(tmp_path / "meta_Saws.json.gz", _lines(METADATA))}
    items = amazon.ratings_2018(files).items
    assert items.text == ("Tom & Co. Tools, Saws & Blades. A saw .", f"Hammer. Tools. {'x' * 200}", "")
    words = [(int(index), items.words.vocabulary[word]) for index, word in zip(items.words.index, items.words.word, strict=True)]
    assert words == [(0, "brand: Tom & Co"), (0, "category: Saws & Blades"), (0, "category: Tools"), (1, "category: Tools")]
    assert "brand: Other" not in items.words.vocabulary


def test_metadata_of_other_items_leave_no_text(tmp_path):
    files = {
        "Saws.csv": _write(tmp_path / "Saws.csv", RATINGS),
        "meta_Saws.json": _write(tmp_path / "meta_Saws.json", _lines(METADATA[2:3])),
    }
    items = amazon.ratings_2018(files).items
    assert (items.text, items.words.vocabulary) == ((), ())


def test_reviews_as_json_lines(tmp_path):
    rows = [_review("u1", "B2", 5.0, 300), _review("u1", "B1", 2, 200), {**_review("u1", "B2", 1.0, 100), "style": "a text, too"}]
    made = amazon.reviews({"Saws_5.json": _write(tmp_path / "Saws_5.json.gz", _lines(rows))})
    assert _rows(made) == [(0, 0, 2.0, 200), (0, 1, 5.0, 300)]
    assert made.repeats == 1


def test_numbers_as_ids(tmp_path):
    made = amazon.video_games(
        {"games.csv": _write(tmp_path / "games.csv", "itemID,rating,userID,timestamp\n10,5,3,100\n9,2,3,200\n10,4,20,100\n")}
    )
    assert _rows(made) == [(0, 0, 2.0, 200), (0, 1, 5.0, 100), (1, 1, 4.0, 100)]


def _hub_files(folder: Path, rows: str = "u1,B1,5.0,1588687728923\nu2,B1,3.0,1588687728000\n") -> Path:
    _write(folder / RATINGS_2023, HEADER_2023 + rows)
    return folder


def test_a_category_of_2023_from_a_local_folder(tmp_path, own_cache):
    folder = _hub_files(tmp_path)
    metadata = {
        "parent_asin": "B1",
        "title": "Card",
        "store": "Shop",
        "main_category": "Gift Cards",
        "categories": [],
        "description": ["Nice."],
    }
    bare = store.load(CATEGORY, folder)
    assert _rows(bare) == [(0, 0, 5.0, 1_588_687_728), (1, 0, 3.0, 1_588_687_728)], "milliseconds become seconds"
    assert (bare.items.text, bare.items.words.vocabulary) == ((), ()), "a category without metadata loads all the same"
    _write(folder / METADATA_2023, _lines([metadata]))
    told = store.load(CATEGORY, folder)  # the columns cached without metadata do not stand in its way
    assert told.items.text == ("Card. Shop. Gift Cards. Nice.",)
    assert told.items.words.vocabulary == ("brand: Shop", "category: Gift Cards")
    assert told.name == CATEGORY
    assert len({told.sha256, bare.sha256, source(CATEGORY).sha256}) == 3, "files that a revision alone pins are known by what is in them"
    same(told, store.load(CATEGORY, folder))
    _hub_files(folder, "u1,B1,4.0,1588687728923\n")
    assert len(store.load(CATEGORY, folder)) == 1, "nor do those of another edition of the file"


@pytest.mark.parametrize("file", ["items.words.word.npy", "time.npy", "manifest.json"])
def test_a_half_written_cache_is_made_again(tmp_path, own_cache, file):
    folder = _hub_files(tmp_path)
    _write(folder / METADATA_2023, _lines([{"parent_asin": "B1", "title": "Card", "store": "Shop"}]))
    good = store.load(CATEGORY, folder)
    (written,) = own_cache.glob(f"columns/*/{file}")
    written.write_bytes(written.read_bytes()[: written.stat().st_size // 2])
    same(good, store.load(CATEGORY, folder))
    same(good, store.load(CATEGORY, folder))


@pytest.mark.parametrize("content", ['{"parent_asin": "B1", "title": "Ca', '{"parent_asin": "B1", "title": ["Card"]}\n', "B1,Card\n"])
def test_metadata_that_cannot_be(tmp_path, own_cache, content):
    folder = _hub_files(tmp_path)
    _write(folder / METADATA_2023, content)
    with pytest.raises(DataError, match=r"meta_Gift_Cards\.jsonl cannot be read as JSON lines"):
        store.load(CATEGORY, folder)


def test_the_collection_has_33_categories():
    assert len(amazon_2023.names()) == 33
    assert {source(name).files[METADATA_2023.replace("Gift_Cards", category)] for name, category in amazon_2023.names().items()} == {""}
    assert len({source(name).sha256 for name in amazon_2023.names()}) == 33


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("", r"Saws\.csv is empty: it has no r"),
        ("B1,u1,5.0\n", r"Saws\.csv has 3 columns in its first row, \['B1', 'u1', '5.0'\], wanted \['item', 'user', 'rating', 'time'\]"),
        ("B1,u1,5.0,7,8\n", r"Saws\.csv has 5 columns"),
        (
            "B1,u1,five,7\n",
            r"Saws\.csv cannot be read as \['item', 'user', 'rating', 'time'\] \(.*'five'.*put the published file there again",
        ),
        ("B1,u1,5.0,yesterday\n", r"cannot be read as .*yesterday"),
        ("B1,u1,,7\n", r"Saws\.csv cannot be read as"),
        ("B1,u1,7.0,7\n", r"'Saws\.csv', rating row 1: rating 7 is outside the scale 1 to 5"),
        ("B1,u1,5.0,7\nB2,u1,4.0,8,9\n", r"Saws\.csv cannot be read as .*line 2"),
        (
            "B1,u1,5.0,1500000000\nB2,u1,4.0,1500000000000\n",
            r"row 2: time 1500000000000 beside 1500000000 in row 1: neither all seconds nor",
        ),
        ("B1,u1,5.0,1500000000000000\n", r"neither all seconds nor all milliseconds"),
        ("B1,\xe9mile,5.0,7\n".encode("latin-1"), r"Saws\.csv cannot be read .*utf-8"),
        ("B1,u1,5.0,7\nB1,ém,5.0,7\n".encode() + "B1,\xe9m,5.0,7\n".encode("latin-1"), r"Saws\.csv cannot be read .*utf-8"),
    ],
)
def test_a_csv_that_cannot_be(tmp_path, content, wanted):
    with pytest.raises(DataError, match=wanted):
        _csv(tmp_path, content)


def test_milliseconds_where_seconds_are_expected_are_converted(tmp_path):
    assert _csv(tmp_path, "B1,u1,5.0,1500000000999\nB2,u1,4.0,1400000000000\n").time.tolist() == [1_500_000_000, 1_400_000_000]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (HEADER_2023, r"Gift_Cards\.csv is empty: it has no rating row"),
        (HEADER_2023 + "\n", r"Gift_Cards\.csv is empty: it has no rating row"),
        (
            "user_id,asin,rating,timestamp\nu1,B1,5,1588687728923\n",
            r"has the columns \['user_id', 'asin'.*wanted \['user_id', 'parent_asin'",
        ),
    ],
)
def test_an_empty_category_and_a_wrong_column_of_2023(tmp_path, own_cache, content, wanted):
    _write(tmp_path / RATINGS_2023, content)
    with pytest.raises(DataError, match=wanted):
        store.load(CATEGORY, tmp_path)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (_lines([_review("u1", "B1", "5.0", 7)]), r"cannot be read as JSON lines .*overall"),
        (_lines([_review("u1", "B1", 5.0, 7), {"reviewerID": "u1", "asin": "B2", "unixReviewTime": 7}]), r"row 2 has no overall"),
        (_lines([_review("u1", "B1", 5.0, 7)])[:-9], r"cannot be read as JSON lines"),
        ("{}\n[1]\n", r"cannot be read as JSON lines"),
    ],
)
def test_reviews_that_cannot_be(tmp_path, content, wanted):
    with pytest.raises(DataError, match=wanted):
        amazon.reviews({"Saws_5.json": _write(tmp_path / "Saws_5.json", content)})


@pytest.mark.parametrize("loader", [amazon.reviews, amazon.ratings_2018])
def test_a_truncated_gzip(tmp_path, loader):
    content = _lines([_review(f"u{i}", f"B{i}", 5.0, 7) for i in range(50)]) if loader is amazon.reviews else RATINGS
    path = _write(tmp_path / "Saws.gz", content)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"Saws\.gz cannot be read .*put the published file there again"):
        loader({"Saws": path})


def test_a_truncated_or_wrong_file_is_refused_before_it_is_read(tmp_path, own_cache):
    name, file = "amazon-2018-fashion-5", "amazon-2018/AMAZON_FASHION_5.json"
    path = _write(tmp_path / f"{file}.gz", "{}\n")
    with pytest.raises(
        DataError, match=rf"{path} has sha256 \w+ \(3 bytes\) where 89d01607.* is published: .*put the published file there again"
    ):
        store.load(name, tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"AMAZON_FASHION_5\.json\.gz cannot be read \(Compressed file ended"):
        store.load(name, tmp_path)


def _pair(folder: Path, text: str, mapped: dict | None = None) -> dict[str, Path]:
    mapped = {"A": [5, 0], "B": [7, 1], "C": [9, 1], "never": [11, 0]} if mapped is None else mapped
    names = ("amazon-2014-cross-domain/abe/abe_50_preprocessed.txt", "amazon-2014-cross-domain/abe/map_item_50.txt")
    return {name: _write(folder / f"{name}.gz", content) for name, content in zip(names, (text, json.dumps(mapped)), strict=True)}


def test_a_pair_of_domains_in_both_directions(tmp_path):
    files = _pair(tmp_path, "0 5|100 7|200\n3 9|50 5|60 7|70\n")
    for loader, domain, names in (
        (amazon_sequences.into_first, [0, 1, 1], ("beauty", "electronics")),
        (amazon_sequences.into_second, [1, 0, 0], ("electronics", "beauty")),
    ):
        made = loader(files)
        assert made.implicit
        assert made.clock
        assert made.rating_range == (0.0, 1.0)
        assert _rows(made) == [(0, 0, 1.0, 100), (0, 1, 1.0, 200), (1, 0, 1.0, 60), (1, 1, 1.0, 70), (1, 2, 1.0, 50)]
        assert (made.domain.tolist(), made.domains) == (domain, names)
        assert (made.users.ids.tolist(), made.items.ids.tolist()) == ([0, 3], [5, 7, 9])
    assert _rows(amazon_sequences.first(files)) == [(0, 0, 1.0, 100), (1, 0, 1.0, 60)]
    second = amazon_sequences.second(files)
    assert (second.items.ids.tolist(), second.domain, second.domains) == ([7, 9], None, ())


def test_sequences_have_an_order_and_attributes(tmp_path):
    files = {
        "x/Toys.txt": _write(tmp_path / "Toys.txt", "1 4 2 4\n2 2\n"),
        "x/Toys_item2attributes.json": _write(tmp_path / "Toys_item2attributes.json", json.dumps({"2": [9, 3, 3], "77": [1], "4": []})),
    }
    made = amazon_sequences.sequences(files)
    assert _rows(made) == [(0, 0, 1.0, 1), (0, 1, 1.0, 2), (1, 0, 1.0, 0)]
    assert (made.repeats, made.implicit, made.clock) == (1, True, False)
    assert made.items.words.vocabulary == ("attribute: 3", "attribute: 9")
    assert (made.items.words.index.tolist(), made.items.words.word.tolist()) == ([0, 0], [0, 1])
    assert made.items.text == ()


@pytest.mark.parametrize(
    ("text", "mapped", "wanted"),
    [
        ("0 5|100 7\n", None, r"is not lines of 'user item\|time \.\.\.'"),
        ("0 5|x\n", None, r"holds what is no number"),
        ("0 6|100\n", None, r"item 6 of user 0 has no domain in map_item"),
        ("0 50|100\n", None, r"item 50 of user 0 has no domain"),
        ("0 5|100\n", {"A": ["5", "beauty"]}, r"is no map to pairs of numbers"),
        ("0 5|100\n", {}, r"holds no map"),
    ],
)
def test_a_pair_that_cannot_be(tmp_path, text, mapped, wanted):
    with pytest.raises(DataError, match=wanted):
        amazon_sequences.into_first(_pair(tmp_path, text, mapped))


def test_reading_local_files_asks_no_one_and_leaves_no_trace(tmp_path, monkeypatch, capfd):
    import datasets
    from datasets import config

    def refuse(*arguments):
        raise AssertionError(f"the network was asked: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    os.mkdir(tmp_path / "temporary")
    _csv(tmp_path, RATINGS)
    with pytest.raises(DataError):
        _csv(tmp_path, "B1,u1,five,7\n")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "hub").exists()
    assert config.HF_HUB_OFFLINE is False
    assert datasets.are_progress_bars_disabled() is False
    assert capfd.readouterr() == ("", "")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file", "rows", "pairs"),
    [
        ("amazon-2018-magazine-subscriptions", "amazon-2018/Magazine_Subscriptions.csv", 89_689, 88_318),
        ("amazon-2014-musical-instruments-5", "amazon-2014/reviews_Musical_Instruments_5.json.gz", 10_261, 10_261),
    ],
)
def test_the_published_counts(real_data, own_cache, name, file, rows, pairs):
    if not (real_data / file).is_file():
        pytest.skip(f"needs {file} under COLDSTART_DATA")
    made = store.load(name, real_data)
    assert (len(made) + made.repeats, len(made)) == (rows, pairs)
    assert len(np.unique(made.user * len(made.items) + made.item)) == pairs
