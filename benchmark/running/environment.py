"""The versions and the code that a number came from."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from functools import cache
from importlib import metadata, util
from pathlib import Path

from benchmark.errors import UsageError

HARNESS = ("contract.py", "data", "protocol", "evaluation")
TIMING = {f"evaluation/{name}.py" for name in ("speed", "visitors", "clock", "honesty", "nvml", "agreement")}  # these decide no score
SPEED = (*sorted(TIMING), "running/speed.py", "running/machine.py", "running/time_spent.py")
VERSIONS = ("torch", "numpy", "pandas", "scipy", "pyarrow", "pydantic")


@cache
def versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("coldstart-bench", *VERSIONS):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def harness_sha256() -> str:
    """One hash of the code that decides tasks and metrics."""
    root = Path(__file__).resolve().parent.parent
    files = [path for part in HARNESS for path in _python_files(root / part)]
    return _hash([path for path in files if path.relative_to(root).as_posix() not in TIMING], root)


@cache
def timing_sha256() -> str:
    """One hash of the code that measures speed."""
    root = Path(__file__).resolve().parent.parent
    return _hash([root / name for name in SPEED], root)


@cache
def code_sha256(target: str) -> str:
    """One hash of the code of a method.

    Of a method of `baselines`: its file, and the pieces that all share in `baselines/nn`. Of a method
    that lives elsewhere: every Python file of the innermost package it stands in, or its one file.
    """
    module, _, name = target.partition(":")
    if module == "__main__":
        return _hash_of_class(name)
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UsageError(f"method '{target}': module '{module}' has no source file, so its records could not be traced")
    path = Path(spec.origin)
    files = [path]
    if module.startswith("baselines."):
        files += _python_files(path.parent.parent / "nn")
    elif "." in module:
        files = _python_files(path.parent)
    return _hash(files, path.parent)


def _hash_of_class(name: str) -> str:
    """Of a class that was typed into a notebook or script: its source as it was typed."""
    try:
        text = inspect.getsource(getattr(sys.modules["__main__"], name))
    except (OSError, TypeError):
        raise UsageError(f"method '__main__:{name}' has no source to be read; put the class into a module file") from None
    return hashlib.sha256(text.encode()).hexdigest()


def _python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _hash(files: list[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        name = os.path.relpath(path, root).replace(os.sep, "/")
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
