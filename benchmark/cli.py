"""The verbs. Each is a few lines that call one function; nothing here imports torch before it must."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark import __version__
from benchmark.errors import BenchmarkError, UsageError

EXAMPLES = """examples:
  python -m benchmark run --all
  python -m benchmark run --board user-ranking --dataset ml-1m --method item_knn --method maml
  python -m benchmark run --board user-rating --dataset ml-100k --method my_package.mine:Mine
  python -m benchmark tune --all --board user-ranking --dataset ml-latest-small --trials 20
  python -m benchmark export --format csv user-ranking --dataset ml-1m

exit codes: 0 all went well, 1 a cell failed or data is damaged, 2 the command itself is wrong"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = parser().parse_args(argv)
    try:
        return int(_VERBS[arguments.verb](arguments))
    except UsageError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished cells are kept, run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m benchmark",
        description="Cold-Start Bench: reproducible leaderboards for cold-start and meta-learning recommendation.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"coldstart-bench {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    _run_options(verbs.add_parser("run", help="train and measure; finished cells are not redone"))
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


def _run_options(run: argparse.ArgumentParser) -> None:
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
    _out(run)
    _data_dir(run)


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


def _list(arguments: argparse.Namespace) -> int:
    from benchmark.listing import listing

    print(listing(arguments.data_dir))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.all and not arguments.board:
        raise UsageError("say what to run: --all, or --board B (boards are listed by `python -m benchmark list`)")
    if arguments.all and arguments.board:
        raise UsageError("--all means every board, and --board names one; give one of them")
    from benchmark.running.session import Request, run

    return run(
        Request(
            boards=tuple(arguments.board),
            datasets=tuple(arguments.dataset),
            methods=tuple(arguments.method),
            settings=tuple(arguments.set),
            seeds=arguments.seeds,
            device=arguments.device,
            workers=arguments.workers,
            fresh=arguments.fresh,
            out=arguments.out,
            data_dir=arguments.data_dir,
            untuned=arguments.untuned,
            speed=arguments.speed,
            cell_seconds=arguments.cell_seconds,
            style="quiet" if arguments.quiet else "json" if arguments.json else "auto",
        )
    )


def _tune(arguments: argparse.Namespace) -> int:
    if arguments.all == bool(arguments.method):
        raise UsageError("say what to tune: METHOD..., or --all, and not both")
    try:
        from benchmark.tuning.session import Request, tune
        from benchmark.tuning.study import Budget
    except ModuleNotFoundError as error:
        raise UsageError(f"tuning needs the package '{error.name}'; get it with `pip install 'coldstart-bench[tune]'`") from None
    if arguments.trials < 1 or not arguments.seconds > 0:
        raise UsageError(f"a budget of {arguments.trials} trials and {arguments.seconds:g} seconds; wanted 1 trial or more, and some time")
    return tune(
        Request(
            methods=tuple(arguments.method),
            boards=tuple(arguments.board),
            datasets=tuple(arguments.dataset),
            budget=Budget(arguments.trials, arguments.seconds),
            device=arguments.device,
            workers=arguments.workers,
            out=arguments.out,
            data_dir=arguments.data_dir,
            seeds=arguments.seeds,
        )
    )


def _render(arguments: argparse.Namespace) -> int:
    from benchmark.reporting.pages import render

    for path in render(arguments.out, arguments.to):
        print(path)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from benchmark.reporting.pages import exported

    sys.stdout.write(exported(arguments.out, arguments.board, arguments.dataset, arguments.format))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from benchmark.running.doctor import certify, doctor, pins

    if (arguments.pins and arguments.certify) or (arguments.to and not arguments.certify):
        raise UsageError("--pins prints and --certify writes, and --to says where to write; give --pins, or --certify with or without --to")
    if arguments.pins:
        print(pins(arguments.pins, arguments.data_dir))
        return 0
    if arguments.certify:
        for path in certify(arguments.certify, arguments.data_dir, arguments.to):
            print(path)
        return 0
    return doctor(arguments.data_dir)


def _data(arguments: argparse.Namespace) -> int:
    from benchmark import datasheet

    if arguments.action == "list":
        print(datasheet.listed(arguments.data_dir))
    elif arguments.action == "info":
        print(datasheet.info(arguments.name, arguments.data_dir))
    elif arguments.action == "verify":
        good = True
        for line, fine in datasheet.verified(arguments.name, arguments.data_dir):
            print(line, flush=True)
            good = good and fine
        return 0 if good else 1
    else:
        from benchmark.data.fetching import fetch

        paths = fetch(arguments.name, _megabytes if sys.stderr.isatty() else None)
        print("\n".join(map(str, paths)) or f"{arguments.name} is generated: there is nothing to fetch")
    return 0


def _megabytes(done: int, total: int) -> None:
    sys.stderr.write(f"\r{done / 1e6:.0f} of {total / 1e6:.0f} MB{chr(10) if done == total else ''}")


_VERBS = {"run": _run, "tune": _tune, "list": _list, "render": _render, "export": _export, "doctor": _doctor, "data": _data}
