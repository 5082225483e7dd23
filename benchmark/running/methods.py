"""From a name to a method: the literal table of `baselines`, or "package.module:Class"."""

from __future__ import annotations

import ast
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError, unknown

if TYPE_CHECKING:
    from benchmark.contract import Method


@dataclass(frozen=True)
class Entry:
    """One row of a leaderboard to be: its name, its class, and the fields that are set for it."""

    name: str
    target: str  # "module:Class"
    settings: dict[str, Any] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)  # where tuned settings come from; empty for defaults


def table() -> dict[str, tuple[str, dict[str, Any]]]:
    """`baselines.METHODS`, which is a literal: name -> ("module:Class", fixed fields)."""
    methods: dict[str, tuple[str, dict[str, Any]]] = import_module("baselines").METHODS
    return methods


def entry(name: str, changes: dict[str, Any] | None = None) -> Entry:
    """The entry of a known name or of "package.module:Class", with `changes` to its fields.

    A changed entry has another name, so that its row cannot be taken for the published one.
    """
    changes = changes or {}
    fixed: dict[str, Any]
    if ":" in name:
        target, fixed = name, {}
    elif name in table():
        target, fixed = table()[name]
    else:
        raise UsageError(unknown("method", name, list(table())) + "; a method of your own is given as package.module:Class")
    label = name
    if changes:
        label += "[" + ",".join(f"{key}={value}" for key, value in sorted(changes.items())) + "]"
    return Entry(label, target, {**fixed, **changes})


def build(chosen: Entry) -> Method:
    """The method itself. A UsageError where the module, the class or a field does not exist."""
    kind = _class(chosen)
    names = {one.name: one for one in fields(kind)}
    for key, value in chosen.settings.items():
        if key not in names:
            raise UsageError(f"method '{chosen.name}': " + unknown("field", key, list(names)))
        default = names[key].default
        if default is not MISSING and not _fits(value, default):
            raise UsageError(f"method '{chosen.name}': field '{key}' is set to {value!r}; wanted something like its default {default!r}")
        search = names[key].metadata.get("search")
        if search is not None and search.log and not value >= 0:
            raise UsageError(f"method '{chosen.name}': field '{key}' is set to {value!r}; wanted no negative number")
    try:
        method: Method = kind(**chosen.settings)
    except Exception as error:
        raise UsageError(
            f"method '{chosen.name}': {chosen.target} cannot be made ({type(error).__name__}: {error}); every field needs a default"
        ) from None
    return method


def _class(chosen: Entry) -> Any:
    module, _, name = chosen.target.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), name]):
        raise UsageError(f"method '{chosen.name}': '{chosen.target}' is no package.module:Class")
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"method '{chosen.name}': cannot import '{error.name}'; is it installed, or is its folder on PYTHONPATH?"
        ) from None
    except (Exception, SystemExit) as error:
        raise UsageError(f"method '{chosen.name}': importing {module} raised {type(error).__name__}: {error}; mend it first") from None
    kind: Any = getattr(loaded, name, None)
    from benchmark.contract import Method

    proper = isinstance(kind, type) and issubclass(kind, Method)
    if not proper:
        raise UsageError(f"method '{chosen.name}': '{name}' in {module} is no subclass of benchmark.Method")
    if not is_dataclass(kind):
        raise UsageError(f"method '{chosen.name}': {chosen.target} is not a dataclass; its fields are its hyperparameters")
    return kind


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return default is None or isinstance(value, type(default))


def parse_setting(text: str) -> tuple[str, str, Any]:
    """`method.field=value` as typed on the command line."""
    left, equals, value = text.partition("=")
    method, dot, name = left.rpartition(".")
    if not (equals and dot and method and name):
        raise UsageError(f"--set got '{text}'; wanted METHOD.FIELD=VALUE, such as maml.inner_steps=3")
    try:
        return method, name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return method, name, value


def summary(target: str) -> str:
    """The first line of a method module's docstring, read without importing it."""
    spec = util.find_spec(target.split(":")[0])
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""
