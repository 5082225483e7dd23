"""Is this machine fit to make numbers: versions, data, and every board's fingerprints."""

from __future__ import annotations

import json
from pathlib import Path

from benchmark.data import store as data
from benchmark.data.catalogue import SOURCES
from benchmark.data.checking import way_to
from benchmark.errors import BenchmarkError
from benchmark.files import write_atomic
from benchmark.protocol import boards, tracks
from benchmark.protocol.certificates import certificate
from benchmark.running import environment
from benchmark.running.machine import machine


def doctor(data_dir: Path | None) -> int:
    """Prints a line a check; returns 1 where one fails. Absent data is no failure."""
    print("versions   " + ", ".join(f"{name} {version}" for name, version in environment.versions().items()))
    print("machine    " + ", ".join(f"{name} {value}" for name, value in machine("cpu").items()))
    failures = 0
    for name, source in SOURCES.items():
        if not data.is_here(name, data_dir):
            print(f"data       {name}: not here; {way_to(source)}")
            continue
        try:
            data.verify(name, data_dir)
            n_files = len(source.members) + len(source.files)
            said = f"{n_files} file{'s' if n_files > 1 else ''} as published" if n_files else "generated"
            print(f"data       {name}: {said}")
            for line, good in _fingerprints(name, data_dir):
                print(line)
                failures += not good
        except BenchmarkError as error:
            print(f"data       {name}: {error}")
            failures += 1
    print("all is well" if not failures else f"{failures} checks failed")
    return 1 if failures else 0


def _fingerprints(dataset: str, data_dir: Path | None) -> list[tuple[str, bool]]:
    lines = []
    loaded = data.load(dataset, data_dir)
    for name in boards.board_names():
        board = boards.load(name)
        if dataset not in board.datasets:
            continue
        pins = board.datasets[dataset].fingerprints
        got = tuple(tracks.cut(board, loaded, i).fingerprint for i in range(board.datasets[dataset].seeds))
        said = "as pinned" if got == pins else "not pinned yet" if not pins else "DIFFERENT from the pins"
        lines.append((f"board      {name} on {dataset}: {len(got)} splits {said}", got == pins))
    return lines


def pins(name: str, data_dir: Path | None) -> str:
    """The [datasets.*] part of a board file, computed from the data that is here; of the rest, as the file has it."""
    board = boards.load(name)
    lines = []
    for dataset, pin in board.datasets.items():
        prints = pin.fingerprints
        if data.is_here(dataset, data_dir):
            loaded = data.load(dataset, data_dir)
            prints = tuple(tracks.cut(board, loaded, i).fingerprint for i in range(pin.seeds))
        lines += [f"[datasets.{dataset}]", f"seeds = {pin.seeds}"]
        lines += [f"shots = {list(pin.shots)}"] if pin.shots else []
        lines += ["fingerprints = [", *(f'  "{one}",' for one in prints), "]", ""] if prints else ["fingerprints = []", ""]
    return "\n".join(lines).rstrip()


def certify(name: str, data_dir: Path | None, folder: Path | None = None) -> list[Path]:
    """Writes a certificate of a board's splits of each data set that is here, among those of the suite or under `folder`."""
    board, written = boards.load(name), []
    for dataset in board.datasets:
        if data.is_here(dataset, data_dir):
            made = certificate(board, data.load(dataset, data_dir))
            path = (folder or boards.splits_folder()) / board.name / f"{dataset}.json"
            write_atomic(path, (json.dumps(made, indent=1) + "\n").encode())
            written.append(path)
    return written
