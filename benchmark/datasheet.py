"""What is known of the data sets: which are here, what a fetch costs, licences, citations, checks. Imports no torch, no pandas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmark.data import amazon_2023, store
from benchmark.data.catalogue import SOURCES, source
from benchmark.data.checking import note_of
from benchmark.data.dataset import Dataset, Side
from benchmark.data.pins import Source
from benchmark.data.store import Place
from benchmark.errors import BenchmarkError, DataError
from benchmark.protocol import boards


def listed(data_dir: Path | None) -> str:
    """The text of `data list`."""
    here = {name: made for name in amazon_2023.names() if (made := source(name)) and store.is_here(name, data_dir)}
    lines = [f"{'data set':<36} {'rows':>10} {'users':>8} {'items':>7}  where"]
    for name, entry in {**SOURCES, **here}.items():
        counts = [f"{count:,}" for count in entry.counts] if entry.counts else ["", "", ""]
        lines.append(f"{name:<36} {counts[0]:>10} {counts[1]:>8} {counts[2]:>7}  {where(entry, data_dir)}")
    return "\n".join([*lines, f"and {amazon_2023.FAMILY}: {source('amazon-2023-all-beauty').cost}"])


def where(entry: Source, data_dir: Path | None) -> str:
    """Where a data set is, or what it takes to have it here."""
    if entry.generated:
        return "generated"
    place = store.find(entry.name, data_dir)
    if place is None:
        return f"not here; {entry.cost}"
    found = roots(place)
    return "embedded" if found == [store.EMBEDDED] else f"ready ({', '.join(map(str, found))})"


def roots(place: Place) -> list[Path]:
    """The data folders in which the files were found."""
    of_files = [path.parents[len(Path(name).parts) - 1] for name, path in place.files.items()]
    return list(dict.fromkeys([*([place.archive.parent] if place.archive else []), *of_files]))


def verified(name: str | None, data_dir: Path | None) -> Iterator[tuple[str, bool]]:
    """A line for each data set that is here, or for the named one: hashes, then counts; and whether all is well."""
    every = [*SOURCES, *amazon_2023.names()]
    if name is not None and not store.is_here(name, data_dir):
        raise DataError(f"data set '{name}' is not here, so there is nothing to check; {source(name).cost}")
    for one in [name] if name is not None else [one for one in every if store.is_here(one, data_dir)]:
        entry = source(one)
        try:
            store.verify(one, data_dir)
            loaded = store.load(one, data_dir)
            store.check_counts(entry, loaded)
            yield f"{one}: {_files(entry, store.find(one, data_dir))}; {_counts(loaded)}", True
        except BenchmarkError as error:
            yield f"{one}: {error}", False


def _files(entry: Source, place: Place | None) -> str:
    """How the files that passed their check are known to be right."""
    if entry.generated or place is None:
        return "generated"
    if not entry.hub:
        n_files = len(entry.members) + len(entry.files)
        return f"{n_files} file{'s' if n_files > 1 else ''} as published"
    noted = all(note_of(path).is_file() for path in place.files.values())
    return f"{' and '.join(path.name for path in place.files.values())} {'as first fetched' if noted else 'without a hash to hold them to'}"


def _counts(loaded: Dataset) -> str:
    return f"{len(loaded):,} rows, {len(loaded.users):,} users, {len(loaded.items):,} items, {_repeats(loaded.repeats)}"


def _repeats(n: int) -> str:
    return f"{n:,} repeats gone" if n else "no repeats"


def info(name: str, data_dir: Path | None) -> str:
    """The text of `data info`."""
    entry = source(name)
    using = [board for board in boards.board_names() if name in boards.load(board).datasets]
    facts = {
        "title": entry.title,
        "where": where(entry, data_dir),
        "terms": entry.terms,
        "citation": entry.citation,
        "published at": entry.url or entry.home,
        "boards": ", ".join(using) or "none",
        "faults": entry.faults,
    }
    if entry.counts and not store.is_here(name, data_dir):
        rows, users, items = entry.counts
        facts["counts"] = f"{rows:,} rows, {users:,} users, {items:,} items, {_repeats(entry.repeats)}"
    if store.is_here(name, data_dir):
        loaded = store.load(name, data_dir)
        facts["counts"] = _counts(loaded)
        facts["ratings"] = "none: events only" if loaded.implicit else "{:g} to {:g}".format(*loaded.rating_range)
        facts["times"] = "" if loaded.synthetic else "seconds" if loaded.clock else "an order alone"
        facts["domains"] = " (target), ".join(loaded.domains)
        facts["users"], facts["items"] = _features(loaded.users), _features(loaded.items)
        facts["tags"] = f"{len(loaded.tags.user):,} of {len(loaded.tags.words):,} words" if loaded.tags.words else ""
    lines = [name, *(f"  {label:<13} {fact}" for label, fact in facts.items() if fact)]
    return "\n".join([*lines, *_pins(entry)])


def _features(side: Side) -> str:
    """What is known of users or items."""
    blocks = (
        (side.categorical.shape[1], "categories"),
        (side.multi_hot.shape[1], "flags"),
        (side.dense.shape[1], "numbers"),
    )
    known = [
        f"{width} {label if width > 1 else label.removesuffix('s').replace('categorie', 'category')}" for width, label in blocks if width
    ]
    if side.words.vocabulary:
        known.append(f"{len(side.words.index):,} words of a vocabulary of {len(side.words.vocabulary):,}")
    if side.text:
        known.append(f"text for {sum(map(bool, side.text)):,}")
    return ", ".join(known) or "ids alone"


def _pins(entry: Source) -> list[str]:
    """The files and their hashes."""
    lines = [f"  {'sha256':<13} {digest or '-':<64}  {name}" for name, digest in {**entry.members, **entry.files}.items()]
    for kind, digest in (("sha256", entry.archive_sha256), ("md5", entry.archive_md5)):
        if digest:
            lines.append(f"  {kind:<13} {digest}  {entry.archive}")
    return lines
