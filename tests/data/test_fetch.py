"""Fetching, against a server in a thread: what is resumed, what is refused, and what is said where there is no network."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.data import fetching, store
from benchmark.data.catalogue import SOURCES, source
from benchmark.data.checking import note_of
from benchmark.errors import DataError, UsageError

SMALL = SOURCES["ml-latest-small"]
HERE = store.EMBEDDED
WHOLE = (HERE / SMALL.archive).read_bytes()
CATEGORY = "amazon-2023-gift-cards"
RATINGS = "benchmark/0core/rating_only/Gift_Cards.csv"
METADATA = "raw/meta_categories/meta_Gift_Cards.jsonl"


@pytest.fixture(autouse=True)
def nothing_is_here(monkeypatch):
    """What lies in a data folder would not be fetched."""
    monkeypatch.setattr(store, "EMBEDDED", Path("nowhere"))
    monkeypatch.delenv("COLDSTART_DATA", raising=False)


@dataclass
class Server:
    """Serves `files` by their path; `cut` bytes and no more of each answer, `ranges` or none."""

    files: dict[str, bytes]
    ranges: bool = True
    cut: int | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    address: str = ""


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            wanted = self.headers.get("Range", "")
            server.asked.append((self.command, self.path, wanted))
            content = server.files.get(self.path)
            if content is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and server.ranges else 0
            if wanted and server.ranges and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if wanted and server.ranges else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", source(CATEGORY).revision)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if body:
                end = len(content) if server.cut is None else start + server.cut
                self.wfile.write(content[start:end])
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    server.address = f"http://127.0.0.1:{running.server_port}"
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def _point(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setitem(SOURCES, SMALL.name, replace(SMALL, url=f"{server.address}/{SMALL.archive}"))


def _left(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in cache.rglob("*") if path.is_file()}


def test_what_is_here_is_not_fetched(own_cache, monkeypatch):
    monkeypatch.setattr(store, "EMBEDDED", HERE)
    assert fetching.fetch(SMALL.name) == (HERE / SMALL.archive,)
    assert not _left(own_cache)


def test_a_fetch_keeps_what_it_verified_and_does_not_come_again(own_cache, monkeypatch):
    with serving(Server({f"/{SMALL.archive}": WHOLE})) as server:
        _point(monkeypatch, server)
        seen: list[tuple[int, int]] = []
        (path,) = fetching.fetch(SMALL.name, lambda done, total: seen.append((done, total)))
        assert path.read_bytes() == WHOLE
        assert seen[-1] == (len(WHOLE), len(WHOLE))
        assert fetching.fetch(SMALL.name) == (path,)
        assert len(server.asked) == 1
        assert _left(own_cache) == {SMALL.archive: len(WHOLE)}


def test_an_interrupted_fetch_resumes(own_cache, monkeypatch):
    with serving(Server({f"/{SMALL.archive}": WHOLE}, cut=300_000)) as server:
        _point(monkeypatch, server)
        with pytest.raises(DataError, match=r"ended after 300,000 of 977,925 bytes.*300,000 bytes are kept and it goes on from there"):
            fetching.fetch(SMALL.name)
        assert _left(own_cache) == {f"{SMALL.archive}.partial": 300_000}
        server.cut = None
        (path,) = fetching.fetch(SMALL.name)
        assert [asked[2] for asked in server.asked] == ["", "bytes=300000-"]
        assert path.read_bytes() == WHOLE
        assert _left(own_cache) == {SMALL.archive: len(WHOLE)}


@pytest.mark.parametrize("left", [WHOLE[:1000], b"x" * len(WHOLE)])
def test_a_server_without_that_range_sends_it_anew(own_cache, monkeypatch, left):
    part = own_cache / "archives" / f"{SMALL.archive}.partial"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    with serving(Server({f"/{SMALL.archive}": WHOLE}, ranges=len(left) == len(WHOLE))) as server:
        _point(monkeypatch, server)
        (path,) = fetching.fetch(SMALL.name)
    assert path.read_bytes() == WHOLE


def test_what_was_resumed_onto_something_else_is_refused(own_cache, monkeypatch):
    part = own_cache / "archives" / f"{SMALL.archive}.partial"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 500_000)
    whole = replace(SMALL, archive_sha256=hashlib.sha256(WHOLE).hexdigest())
    with serving(Server({f"/{SMALL.archive}": WHOLE})) as server:
        monkeypatch.setitem(SOURCES, SMALL.name, replace(whole, url=f"{server.address}/{SMALL.archive}"))
        wanted = rf"has sha256 \w{{64}} \(977,925 bytes\) where {whole.archive_sha256} is published"
        with pytest.raises(DataError, match=wanted):
            fetching.fetch(SMALL.name)
        assert _left(own_cache) == {}, "the next fetch begins anew"
        assert fetching.fetch(SMALL.name)[0].read_bytes() == WHOLE


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_an_archive_pinned_as_a_whole(own_cache, monkeypatch, kind):
    right = hashlib.new(kind, WHOLE).hexdigest()
    pinned = replace(SMALL, members=dict.fromkeys(SMALL.members, ""))
    with serving(Server({f"/{SMALL.archive}": WHOLE})) as server:
        for digest in ("0" * len(right), right):
            entry = replace(pinned, url=f"{server.address}/{SMALL.archive}", **{f"archive_{kind}": digest})
            monkeypatch.setitem(SOURCES, SMALL.name, entry)
            if digest != right:
                with pytest.raises(DataError, match=rf"has {kind} {right} \(977,925 bytes\) where {digest} is published"):
                    fetching.fetch(SMALL.name)
                assert _left(own_cache) == {}
        (path,) = fetching.fetch(SMALL.name)
    made = store.parse(entry, store.Place(path, {}))
    assert (len(made), made.sha256) == (100_836, entry.sha256)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/ml-1m.zip", "http://no-such-host.invalid/ml-1m.zip"])
def test_no_network_is_one_sentence_at_once(own_cache, monkeypatch, address):
    monkeypatch.setitem(SOURCES, "ml-1m", replace(SOURCES["ml-1m"], url=address))
    started = time.perf_counter()
    with pytest.raises(
        DataError, match=rf"cannot reach {address} .*put ml-1m\.zip into a folder and pass it as --data-dir or COLDSTART_DATA"
    ):
        fetching.fetch("ml-1m")
    assert time.perf_counter() - started < 5
    assert _left(own_cache) == {}


def test_a_file_that_is_gone_from_the_server(own_cache, monkeypatch):
    with serving(Server({})) as server:
        _point(monkeypatch, server)
        with pytest.raises(DataError, match=r"cannot reach http://127.* \(Not Found\)"):
            fetching.fetch(SMALL.name)
    assert _left(own_cache) == {}


def test_two_fetches_at_once_do_not_write_into_one_file(own_cache):
    target = own_cache / "archives" / "ml-1m.zip"
    target.parent.mkdir(parents=True)
    with (
        fetching._alone(target),
        pytest.raises(DataError, match=r"ml-1m\.zip is being fetched by another process"),
        fetching._alone(target),
    ):
        pass


def test_what_no_archive_holds_is_named_with_its_authors(own_cache, monkeypatch, tmp_path):
    monkeypatch.delenv("COLDSTART_DATA", raising=False)
    with pytest.raises(
        UsageError, match=r"AMAZON_FASHION_5\.json .*https://nijianmo.github.io/amazon.*pass the folder as --data-dir or COLDSTART_DATA"
    ):
        fetching.fetch("amazon-2018-fashion-5")
    with pytest.raises(UsageError, match=r"user_cold_state\.json .*https://github.com/hoyeoplee/MeLU.* beside ml-1m\.zip"):
        fetching.fetch("ml-1m-melu")
    (tmp_path / "amazon-2018").mkdir()
    (tmp_path / "amazon-2018/AMAZON_FASHION_5.json").write_text("{}")
    monkeypatch.setenv("COLDSTART_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"AMAZON_FASHION_5\.json has sha256 \w+ \(2 bytes\) where 89d01607.* put the published file there again"
    ):
        fetching.fetch("amazon-2018-fashion-5")


def _hub(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.delenv("COLDSTART_DATA", raising=False)


def _at_revision(files: dict[str, bytes]) -> dict[str, bytes]:
    entry = source(CATEGORY)
    return {f"/datasets/{entry.hub}/resolve/{entry.revision}/{name}": content for name, content in files.items()}


def test_a_category_of_the_hub_is_fetched_noted_and_held_to_its_note(own_cache, monkeypatch, capsys):
    ratings = b"user_id,parent_asin,rating,timestamp\nu1,B1,5.0,1588687728923\n"
    with serving(Server(_at_revision({RATINGS: ratings}))) as server:
        _hub(monkeypatch, server)
        (path,) = fetching.fetch(CATEGORY)  # this one has no metadata
    assert path == own_cache / "archives/amazon-2023" / RATINGS
    assert note_of(path).read_text() == f"{hashlib.sha256(ratings).hexdigest()}  Gift_Cards.csv\n"
    assert len(store.load(CATEGORY)) == 1
    assert main(["data", "verify", CATEGORY]) == 0
    assert capsys.readouterr().out == f"{CATEGORY}: Gift_Cards.csv as first fetched; 1 rows, 1 users, 1 items, no repeats\n"
    assert main(["data", "list"]) == 0
    assert f"{CATEGORY} " in capsys.readouterr().out
    path.write_bytes(ratings.replace(b"5.0", b"4.0"))
    with pytest.raises(DataError, match=r"Gift_Cards\.csv has sha256 .* is published.*data fetch amazon-2023-gift-cards"):
        store.load(CATEGORY)
    assert main(["data", "verify", CATEGORY]) == 1


def test_a_category_with_metadata(own_cache, monkeypatch):
    files = {
        RATINGS: b"user_id,parent_asin,rating,timestamp\nu1,B1,5.0,1588687728923\n",
        METADATA: b'{"parent_asin": "B1", "title": "Card"}\n',
    }
    with serving(Server(_at_revision(files))) as server:
        _hub(monkeypatch, server)
        assert len(fetching.fetch(CATEGORY)) == 2
    assert store.load(CATEGORY).items.text == ("Card",)


def test_no_hub_is_one_sentence_at_once(own_cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://no-such-host.invalid")
    started = time.perf_counter()
    with pytest.raises(
        DataError,
        match=r"cannot reach http://no-such-host.invalid/datasets/McAuley-Lab/.* put amazon-2023/benchmark/0core/.*COLDSTART_DATA",
    ):
        fetching.fetch(CATEGORY)
    assert time.perf_counter() - started < 5
    assert _left(own_cache) == {}
