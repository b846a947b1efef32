"""Imports go one way: the core knows nothing of RecBole, and nothing of the package unpickles or starts Ray."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import recbole_dtlns

PACKAGE = Path(recbole_dtlns.__file__).parent
ALL = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
CORE = [path for path in ALL if path.parts[0] != "glue"]
GLUE = "recbole_dtlns.glue"
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module that is imported anywhere in the code, lazily or by name too; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            yield first.value if isinstance(first, ast.Constant) else f"<{ast.unparse(node)}>"


def unpicklings(tree: ast.AST) -> Iterator[str]:
    """Every way in which the code could run what a file says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            yield from (f"{node.module}.{alias.name}" for alias in node.names if "Error" not in alias.name)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in UNPICKLERS and "Error" not in node.attr:
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            name = ast.unparse(node.func)
            if name == "torch.load" and keywords.get("weights_only") != "True":
                yield f"{name} without weights_only=True"
            if name.split(".")[-1] == "read_pickle" or keywords.get("allow_pickle", "False") != "False":
                yield ast.unparse(node)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def package_of(path: Path) -> str:
    return ".".join(["recbole_dtlns", *path.parent.parts])


def parsed(path: Path) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CORE, ids=str)
def test_core_knows_nothing_of_recbole(path: Path) -> None:
    """No core module imports RecBole or the glue, not even inside a function.

    The package's own __init__ offers names of the glue, to type checkers and, loaded when they are first used, to all.
    """
    tree = parsed(path)
    if path == Path("__init__.py"):
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ]
    found = [module for module in imports(tree, package_of(path)) if within(module, "recbole") or within(module, GLUE)]
    assert not found


@pytest.mark.parametrize("path", ALL, ids=str)
def test_no_module_starts_recbole_or_ray_or_unpickles(path: Path) -> None:
    """recbole.quick_start imports Ray and resolves the model again; a pickle runs whatever is in it.

    Ray is named by the search and where a cluster is connected to, and nowhere else.
    """
    tree = parsed(path)
    named = set(imports(tree, package_of(path)))
    assert not [module for module in named if within(module, "recbole.quick_start")]
    if path != Path("ray_cluster.py") and path.parts[:2] != ("glue", "tune"):
        assert not [module for module in named if within(module, "ray")]
    assert not list(unpicklings(tree))


def test_ray_is_not_imported_before_it_is_used() -> None:
    """Not even by the module of the search: training must not depend on whether Ray is there."""
    code = "import sys, recbole_dtlns.commands.command_line, recbole_dtlns.studies.tune.search; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("import recbole.data", "recbole.data"),
        ("from recbole import quick_start", "recbole.quick_start"),
        ("def f():\n    from recbole_dtlns.glue import runner", "recbole_dtlns.bridge.runner"),
        ("from .. import glue", "recbole_dtlns.glue"),
        ("from ..glue import runner", "recbole_dtlns.glue"),
        ("from . import table", "recbole_dtlns.judges.table"),
        ("import importlib\nimportlib.import_module('ray.tune')", "ray.tune"),
    ],
)
def test_the_search_sees_every_form_of_import(code: str, module: str) -> None:
    """Guards the tests above: they could otherwise pass by not looking."""
    assert module in set(imports(ast.parse(code), "recbole_dtlns.judges"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pickle.load(f)", True),
        ("from pickle import loads", True),
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("np.load(f, allow_pickle=True)", True),
        ("pd.read_pickle(f)", True),
        ("torch.load(f, weights_only=True)", False),
        ("pickle.UnpicklingError", False),
        ("np.load(f)", False),
    ],
)
def test_the_search_sees_every_form_of_unpickling(code: str, expected: bool) -> None:
    """Guards the tests above, and lets the harmless forms pass."""
    assert any(unpicklings(ast.parse(code))) == expected


def test_core_runs_where_recbole_is_missing() -> None:
    """Every core module is imported in a process in which RecBole, Ray and the glue cannot be."""
    modules = [".".join(["recbole_dtlns", *path.with_suffix("").parts]).removesuffix(".__init__") for path in CORE]
    code = f"""
import importlib, importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("recbole", "ray") or name.startswith({GLUE!r}):
            raise ImportError(f"{{name}} was imported")

sys.meta_path.insert(0, Refuse())
for module in {modules!r}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
