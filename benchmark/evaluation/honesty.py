"""What a timing may not be: an answer kept from before, or work that goes on after the clock was stopped."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Sequence
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from benchmark.contract import Learner, State, World
from benchmark.errors import MethodError

REST_SECONDS = 0.03  # a method that left nothing behind uses no time of the processor in it
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


def check_repeats(fresh: Sequence[float], again: Sequence[float]) -> None:
    """Raises MethodError where tasks that were asked before are answered much faster than new ones.

    Their median is held against the fastest tenth of the new ones: a busy machine makes a call slower, and never faster.
    """
    new, known = (float(np.quantile(seconds, quantile)) for seconds, quantile in ((fresh, 0.1), (again, 0.5)))
    if known < FASTER * new and new - known > GAP_SECONDS:
        raise MethodError(
            f"a new task takes {1e3 * new:.3f} ms and one that was asked before {1e3 * known:.3f} ms: answers are "
            "kept; a learner may not remember what it was asked"
        )


def copied(state: State) -> State:
    """The state as it is at this moment."""
    return {name: value.clone() for name, value in state.items()}


class Quiet:
    """Notes the threads and processes that are there, and later whether work has been left behind."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._children = {child.pid for child in multiprocessing.active_children()}

    def check(self, state: State, at_return: State) -> None:
        """Raises MethodError for new threads or processes, time of the processor used at rest, or a state that came later."""
        started = time.process_time()
        time.sleep(REST_SECONDS)
        used = time.process_time() - started
        for name, value in at_return.items():
            if not bool(((state[name] == value) | ((state[name] != state[name]) & (value != value))).all()):
                raise MethodError(f"adapt() returned before its work was done: state '{name}' has changed since")
        threads = [one.name for one in set(threading.enumerate()) - self._threads]
        children = [one.name for one in multiprocessing.active_children() if one.pid not in self._children]
        if threads or children:
            raise MethodError(f"serving left {', '.join(threads + children)} running; all work ends before adapt() and score() return")
        if used > REST_SECONDS / 2:
            raise MethodError(
                f"serving left work behind: {1e3 * used:.0f} ms of the processor were used in {1e3 * REST_SECONDS:.0f} ms of rest"
            )
