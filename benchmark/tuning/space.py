"""What may be searched: the fields that a method declares with `searched`, as Optuna's distributions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from benchmark.contract import Search
from benchmark.errors import UsageError
from benchmark.running import methods
from benchmark.running.methods import Entry


def space(entry: Entry) -> tuple[dict[str, BaseDistribution], dict[str, Any]]:
    """The distribution of each searched field that the entry does not fix, and its default.

    Raises UsageError where a range is empty, or does not hold the default.
    """
    method: Any = methods.build(entry)
    found, defaults = {}, {}
    for field in fields(method):
        search = field.metadata.get("search")
        if search is not None and field.name not in entry.settings:
            default = getattr(method, field.name)
            found[field.name] = _distribution(f"method '{entry.name}': field '{field.name}'", search, default)
            defaults[field.name] = default
    return found, defaults


def _distribution(who: str, search: Search, default: Any) -> BaseDistribution:
    if search.choices:
        if default not in search.choices:
            raise UsageError(f"{who} may be searched among {search.choices} but its default is {default!r}; add it to the choices")
        return CategoricalDistribution(search.choices)
    low, high = search.low, search.high
    if low is None or high is None or not low < high or (search.log and low <= 0):
        raise UsageError(f"{who} may be searched from {low} to {high}{' on a log scale' if search.log else ''}, which is an empty range")
    if isinstance(default, bool) or not isinstance(default, int | float) or not low <= default <= high:
        raise UsageError(f"{who} may be searched from {low} to {high} but its default is {default!r}; widen the range")
    if isinstance(default, int):
        if int(low) != low or int(high) != high:
            raise UsageError(f"{who} is a whole number and may be searched from {low} to {high}; give whole ends")
        return IntDistribution(int(low), int(high), log=search.log)
    return FloatDistribution(float(low), float(high), log=search.log)
