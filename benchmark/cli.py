"""The verbs. Each is a few lines that call one function; nothing here imports torch before it must."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, UsageError
from benchmark.options import parser

if TYPE_CHECKING:
    from benchmark.running.session import Request


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


def _list(arguments: argparse.Namespace) -> int:
    from benchmark.listing import listing

    print(listing(arguments.data_dir))
    return 0


def _request(arguments: argparse.Namespace) -> Request:
    """What `run` was asked for; `plan` has the same options, without those that say how to run."""
    if not arguments.all and not arguments.board:
        raise UsageError(f"say what to {arguments.verb}: --all, or --board B (boards are listed by `python -m benchmark list`)")
    if arguments.all and arguments.board:
        raise UsageError("--all means every board, and --board names one; give one of them")
    from benchmark.running.session import Request

    return Request(
        boards=tuple(arguments.board),
        datasets=tuple(arguments.dataset),
        methods=tuple(arguments.method),
        settings=tuple(arguments.set),
        seeds=arguments.seeds,
        device=arguments.device,
        workers=arguments.workers,
        fresh=getattr(arguments, "fresh", False),
        out=arguments.out,
        data_dir=arguments.data_dir,
        untuned=arguments.untuned,
        speed=getattr(arguments, "speed", None),
        cell_seconds=getattr(arguments, "cell_seconds", None),
        style="quiet" if getattr(arguments, "quiet", False) else "json" if getattr(arguments, "json", False) else "auto",
    )


def _run(arguments: argparse.Namespace) -> int:
    request = _request(arguments)
    from benchmark.running.session import run

    return run(request)


def _plan(arguments: argparse.Namespace) -> int:
    request = _request(arguments)
    from benchmark.running.forecast import forecast

    print(forecast(request))
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    from benchmark.records.merge import merge

    print("\n".join(merge(arguments.folder, arguments.out)))
    return 0


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


_VERBS = {
    "run": _run,
    "plan": _plan,
    "merge": _merge,
    "tune": _tune,
    "list": _list,
    "render": _render,
    "export": _export,
    "doctor": _doctor,
    "data": _data,
}
