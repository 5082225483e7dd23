"""Cold-Start Bench: how well, how fast and how cheaply a recommender serves someone it has barely seen.

The names below are loaded on first use, so that `import benchmark.cli` does not pay for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Features": "benchmark.contract",
    "Learner": "benchmark.contract",
    "Method": "benchmark.contract",
    "Ratings": "benchmark.contract",
    "State": "benchmark.contract",
    "Support": "benchmark.contract",
    "World": "benchmark.contract",
    "load_board": "benchmark.notebook",
    "run": "benchmark.notebook",
    "results": "benchmark.notebook",
    "searched": "benchmark.contract",
}

__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'benchmark' has no name '{name}'; it has {', '.join(_WHERE)}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
