"""What a timing may not be: an answer kept from before, or work that goes on after the clock was stopped."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.contract import Learner, State, Support, World
from benchmark.errors import MethodError

REST_SECONDS = 0.06  # a method that left nothing behind uses no time of the processor in it
TOLERANCE = 1e-3  # of scores, which are of order one: another batch sums in another order
OTHER_SIZE = 7  # of a batch that is asked again, none of those that are timed
MOST_CORES = 1.2
FASTER, GAP_SECONDS = 0.5, 1e-4  # a repeated task that takes less than this share, and less by more than this, was remembered


def held_bytes(learner: Learner) -> int:
    """Bytes of all tensors, arrays, texts and containers that can be reached from a learner."""
    seen: set[int] = set()
    waiting: list[Any] = [learner]
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one is None or isinstance(one, ModuleType | type | World):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            total += one.numel() * one.element_size()
        elif isinstance(one, np.ndarray):
            total += one.nbytes
        elif isinstance(one, str | bytes | bytearray):
            total += len(one)
        elif isinstance(one, dict):
            total += 8 * len(one)
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            total += 8 * len(one)
            waiting += list(one)
        else:
            waiting += _parts(one)
    return total


def _parts(one: Any) -> list[Any]:
    """What an object, a function or a bound piece of one holds on to."""
    if isinstance(one, FunctionType):
        return [cell.cell_contents for cell in one.__closure__ or () if _is_full(cell)] + [one.__defaults__, one.__dict__]
    if isinstance(one, MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, partial):
        return [one.func, one.args, one.keywords]
    wrapped = getattr(one, "__wrapped__", None)  # of a cache: what it holds is counted by its own books
    info = getattr(one, "cache_info", None)
    if wrapped is not None and callable(info):
        return [wrapped, b"." * int(info().currsize)]
    slots = [getattr(one, name) for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(one, name)]
    return [getattr(one, "__dict__", None), *slots]


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def check_held(before: int, after: int) -> None:
    """Raises MethodError where a learner has grown while it served: it remembers whom it met."""
    if after > before:
        raise MethodError(
            f"the learner held {before:,} bytes before it served and {after:,} after; a learner is immutable: what is "
            "kept of an entity belongs into the state that adapt() returns"
        )


def check_repeats(pairs: Callable[[], Sequence[tuple[float, float]]]) -> None:
    """Raises MethodError where a task that was asked a moment before is answered much faster than when it was new, twice over.

    New and repeated calls take turns, so that a busy machine slows both.
    """
    for _ in range(2):
        fresh, again = (float(np.median(side)) for side in zip(*pairs(), strict=True))
        if again >= FASTER * fresh or fresh - again <= GAP_SECONDS:
            return
    raise MethodError(
        f"a new task takes {1e3 * fresh:.3f} ms and one that was asked before {1e3 * again:.3f} ms: answers are "
        "kept; a learner may not remember what it was asked"
    )


def copy_of(learner: Learner) -> Learner:
    """A copy that shares nothing with the learner: what serving does to the one, the other does not know."""
    try:
        return copy.deepcopy(learner)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise MethodError(
            f"the learner cannot be copied ({why}), so its answers go unchecked; make it of tensors and plain objects"
        ) from None


def check_states(untouched: Learner, kept: Sequence[tuple[Support, State]]) -> None:
    """Raises MethodError where a timed state scores otherwise than what the untouched copy makes of the same support.

    The copy is asked in batches of another size than those that were timed.
    """
    for support, state in kept:
        n = min(OTHER_SIZE, len(support))
        again = untouched.adapt(joined([support[:n]] * (1 if n > 1 else OTHER_SIZE)))
        with torch.no_grad():
            wanted, got = untouched.score(again)[:n], untouched.score({name: value[:n] for name, value in state.items()})
        _same(got, wanted)


def check_ranks(untouched: Learner, kept: Sequence[tuple[Support, Tensor]]) -> None:
    """Raises MethodError where the ten that were ranked first are not the ten that the untouched copy scores best."""
    for support, ranked in kept:
        state = untouched.adapt(joined([support] * OTHER_SIZE))
        with torch.no_grad():
            scores = untouched.score(state)[: len(support)].cpu()
        _same(scores.gather(1, ranked).sort(1).values, scores.topk(ranked.shape[1]).values.sort(1).values)


def joined(supports: Sequence[Support]) -> Support:
    """Several supports of one width as one."""
    return Support(*(torch.cat([getattr(one, field.name) for one in supports]) for field in fields(Support)))


def _same(got: Tensor, wanted: Tensor) -> None:
    gap = float((got - wanted).abs().max())
    if not gap <= TOLERANCE * (1.0 + float(wanted.abs().max())):
        raise MethodError(
            f"an answer that was timed differs by {gap:.3g} from that of a copy that had served nobody: what is timed is what counts, "
            "for each support anew"
        )


def copied(state: State) -> State:
    """The state as it is at this moment."""
    return {name: value.clone() for name, value in state.items()}


class Quiet:
    """Notes the threads and processes that are there, and later whether work has been left to others, or left behind."""

    def __init__(self) -> None:
        self._threads, self._children, self._allowed = set(threading.enumerate()), children(), torch.get_num_threads()

    def check_running(self) -> None:
        """Raises MethodError for threads and processes that were not there before."""
        threads = [one.name for one in set(threading.enumerate()) - self._threads]
        processes = [f"process {one}" for one in children() - self._children]
        if threads or processes:
            raise MethodError(
                f"the method left {', '.join(threads + processes)} running; all work ends before fit(), adapt() and score() return"
            )

    def check_cores(self, cores: float) -> None:
        """Raises MethodError where more threads worked than a cell has."""
        now = torch.get_num_threads()
        if cores > MOST_CORES * self._allowed or now != self._allowed:
            raise MethodError(
                f"{cores:.1f} cores were busy, with torch at {now} threads; a cell has {self._allowed}, the same for all methods"
            )

    def check_rest(self, state: State, at_return: State) -> None:
        """Raises MethodError for anything left running, time of the processor used at rest, or a state that came later."""
        started = time.process_time()
        time.sleep(REST_SECONDS)
        used = time.process_time() - started
        self.check_running()
        for name, value in at_return.items():
            if not bool(((state[name] == value) | ((state[name] != state[name]) & (value != value))).all()):
                raise MethodError(f"adapt() returned before its work was done: state '{name}' has changed since")
        if used > REST_SECONDS / 2:
            raise MethodError(
                f"serving left work behind: the processor was busy for {1e3 * used:.0f} of {1e3 * REST_SECONDS:.0f} ms of rest"
            )


def children() -> set[int]:
    """The processes that this one has started and that live, by the kernel's books where it keeps them."""
    found = {one.pid for one in multiprocessing.active_children() if one.pid}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended, or the kernel keeps other books
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(path.parent.name))
    return found
