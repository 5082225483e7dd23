"""What may be typed: the verbs and their options. Imports nothing that is slow."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark import __version__

EXAMPLES = """examples:
  python -m benchmark run --all
  python -m benchmark run --board user-ranking --dataset ml-1m --method item_knn --method maml
  python -m benchmark run --board user-rating --dataset ml-100k --method my_package.mine:Mine
  python -m benchmark plan --all --workers 8
  python -m benchmark merge from-laptop from-server --out runs
  python -m benchmark tune --all --board user-ranking --dataset ml-latest-small --trials 20
  python -m benchmark export --format csv user-ranking --dataset ml-1m

exit codes: 0 all went well, 1 a cell failed or data is damaged, 2 the command itself is wrong"""


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = argparse.ArgumentParser(
        prog="python -m benchmark",
        description="Cold-Start Bench: reproducible leaderboards for cold-start and meta-learning recommendation.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"coldstart-bench {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    _run_options(verbs.add_parser("run", help="train and measure; finished cells are not redone"))
    _selection(verbs.add_parser("plan", help="what `run` would do with these options, what it would cost, and what it could show"))
    merge = verbs.add_parser("merge", help="cells of several machines into one folder; conflicts are named, and nothing is written")
    merge.add_argument("folder", nargs="+", type=Path, metavar="DIR", help="a folder that `run` was given as --out")
    merge.add_argument("--out", type=Path, required=True, help="folder that is to hold them all")
    listing = verbs.add_parser("list", help="boards, data sets and methods, and what is ready here")
    _data_dir(listing)
    _tune_options(verbs.add_parser("tune", help="search hyperparameters on validation entities, with one budget for all"))
    render = verbs.add_parser("render", help="leaderboards from the cells that are there, as Markdown")
    _out(render)
    render.add_argument("--to", type=Path, help="folder for the pages (default: OUT/leaderboards)")
    export = verbs.add_parser("export", help="the numbers of a board, one row a number")
    export.add_argument("board", metavar="BOARD")
    export.add_argument("--dataset", required=True)
    export.add_argument("--format", choices=("json", "csv"), default="csv")
    _out(export)
    doctor = verbs.add_parser("doctor", help="check the machine, the data and the boards' fingerprints")
    _data_dir(doctor)
    doctor.add_argument("--pins", metavar="BOARD", help="print the fingerprints to pin in a board file instead")
    doctor.add_argument("--certify", metavar="BOARD", help="write the certificates of a board's splits instead: counts and hashes")
    doctor.add_argument("--to", type=Path, help="folder for the certificates (default: those of the suite, leaderboards/splits)")
    _data_options(verbs.add_parser("data", help="public data sets: list, fetch, verify, info"))
    return top


def _selection(run: argparse.ArgumentParser) -> None:
    """Which cells."""
    run.add_argument("--all", action="store_true", help="every board, on every data set that is here")
    run.add_argument("--board", action="append", default=[], metavar="B", help="a board's name, or a board file; may be repeated")
    run.add_argument("--dataset", action="append", default=[], metavar="D", help="only on this data set; may be repeated")
    run.add_argument(
        "--method", action="append", default=[], metavar="M", help="a name, or package.module:Class; may be repeated (default: all)"
    )
    run.add_argument("--set", action="append", default=[], metavar="M.F=V", help="set field F of method M; its row gets another name")
    run.add_argument("--seeds", type=int, metavar="N", help="only the first N of the board's seeds")
    run.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    run.add_argument("--workers", type=int, metavar="N", help="processes of one thread each (default: one a core; 1 on cuda)")
    run.add_argument("--untuned", action="store_true", help="every method with its defaults, whatever was tuned")
    _out(run)
    _data_dir(run)


def _run_options(run: argparse.ArgumentParser) -> None:
    _selection(run)
    run.add_argument(
        "--speed",
        action=argparse.BooleanOptionalAction,
        help="measure speed on every board asked for, or not at all (default: once a data set, on user-ranking or user-rating)",
    )
    run.add_argument(
        "--cell-seconds", type=float, metavar="S", help="stop a cell that takes longer, and record it as failed (default: none)"
    )
    shown = run.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="no progress; tables and errors as ever")
    shown.add_argument("--json", action="store_true", help="progress on stderr as JSON objects, one a line")
    run.add_argument("--fresh", action="store_true", help="do the chosen cells again, also the finished ones")


def _tune_options(tune: argparse.ArgumentParser) -> None:
    tune.add_argument("method", nargs="*", metavar="METHOD", help="names of the table")
    tune.add_argument("--all", action="store_true", help="every method")
    tune.add_argument("--board", action="append", required=True, metavar="B", help="a board's name, or a board file; may be repeated")
    tune.add_argument("--dataset", action="append", default=[], metavar="D", help="only on this data set; may be repeated")
    tune.add_argument("--trials", type=int, default=20, metavar="N", help="trials of each study, the default among them (default: 20)")
    tune.add_argument("--seconds", type=float, default=600.0, metavar="S", help="of each study, over all its trials (default: 600)")
    tune.add_argument("--seeds", type=int, metavar="N", help="compare on the first N of the board's seeds (default: all)")
    tune.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    tune.add_argument("--workers", type=int, metavar="N", help="processes of one thread each (default: one a core; 1 on cuda)")
    _out(tune)
    _data_dir(tune)


def _data_options(data: argparse.ArgumentParser) -> None:
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    _data_dir(actions.add_parser("list", help="every data set, where it is and what a fetch costs"))
    actions.add_parser("fetch", help="get one into the cache folder; an interrupted fetch goes on").add_argument("name", metavar="NAME")
    verify = actions.add_parser("verify", help="hashes and counts of one, or of all that are here")
    verify.add_argument("name", metavar="NAME", nargs="?")
    _data_dir(verify)
    info = actions.add_parser("info", help="files, terms, citation, counts and features of one")
    info.add_argument("name", metavar="NAME")
    _data_dir(info)


def _out(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--out", type=Path, default=Path("runs"), help="folder of the cells (default: runs)")


def _data_dir(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--data-dir", type=Path, help="folder of public data (also: COLDSTART_DATA)")
