"""What can go wrong, as sentences: who, got, wanted, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BenchmarkError(Exception):
    """Something the person at the keyboard can mend; its text is the whole message."""


class UsageError(BenchmarkError):
    """The command names something that does not exist, or contradicts itself (exit code 2)."""


class DataError(BenchmarkError):
    """A data file is missing, damaged, or not what it says it is."""


class ProtocolError(BenchmarkError):
    """A board cannot be built as it promises: a fingerprint differs, a data set is too small."""


class MethodError(BenchmarkError):
    """A method broke the contract: a wrong shape, a NaN, another dtype. Its cell fails."""


def unknown(kind: str, got: str, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist."""
    known = list(known)
    close = get_close_matches(got, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"no {kind} is called '{got}'; known: {', '.join(known) or 'none'}{hint}"
