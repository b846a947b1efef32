"""Imports go one way, from room to room; RecBole, plotly and Ray each have their rooms; nothing unpickles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

import recbole_dtlns

PACKAGE = Path(recbole_dtlns.__file__).parent
ALL = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
# A room may import itself and those before it. One that is not listed fails the test: say where it belongs.
ROOMS = (
    "errors",
    "version",
    "registry",
    "components",
    "compat",
    "ray_cluster",
    "numerics",
    "storage",
    "blocks",
    "training",
    "data",
    "trees",
    "teachers",
    "evaluation",
    "serving",
    "llm",
    "text",
    "judges",
    "negatives",
    "losses",
    "guidance",
    "generation",
    "preparation",
    "methods",
    "settings",
    "bridge",
    "studies",
    "reports",
    "commands",
    "conformance",
)
MAY_IMPORT = {
    "recbole": ("bridge/",),
    "plotly": ("reports/",),
    "ray": ("ray_cluster.py", "studies/tune/", "llm/ray_engine.py"),
}
LARGEST_SHARE = 0.25
IMPORTERS = ("import_module", "__import__", "optional_import")  # what they are given first names a module
NAMED_WHEN_RUN = {  # these import what is not written where they import it, for the reason behind each
    "__init__.py": "the public names, loaded when first used",
    "llm/engine.py": "optional_import, whose callers write the name",
    "llm/bounded_http.py": "httpx or httpcore, as the openai library has it",
    "bridge/models/capabilities.py": "a model's class that the user names",
    "training/fork_server.py": "what whoever starts it wants imported and called",
    "commands/doctor.py": "whatever may be missing",
}
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
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in IMPORTERS:
            first = node.args[0] if node.args else None
            written = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield resolve_name(first.value, package) if written else f"<{ast.unparse(node)}>"
        elif isinstance(node, ast.Constant) and re.fullmatch(r"recbole_dtlns(\.\w+)+", str(node.value)):
            yield node.value  # for a process of its own, or kept for later


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


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module that a file of the package names."""
    return frozenset(imports(parsed(path), package_of(path)))


def room_of(module: str) -> str:
    """The room of a module of this package, `recbole_dtlns.ROOM...`; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def names_offered_to_all(path: Path, tree: ast.Module) -> ast.Module:
    """The package's own __init__ offers names of high rooms, to type checkers and, loaded when first used, to all."""
    if path == Path("__init__.py"):
        kept = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ]
        return ast.Module(kept, tree.type_ignores)
    return tree


def test_rooms_import_what_is_below_them() -> None:
    assert {path: upwards for path in ALL if (upwards := imported_upwards(path))} == {}


def imported_upwards(path: Path) -> set[tuple[str, str]]:
    """The rooms above its own that a file imports from."""
    own = "" if path == Path("__init__.py") else path.with_suffix("").parts[0]
    tree = names_offered_to_all(path, parsed(path))
    found = {room_of(module) for module in imports(tree, package_of(path)) if within(module, "recbole_dtlns")}
    below = ROOMS[: ROOMS.index(own) + 1] if own else ("compat", "version", "__version__")
    return {(own, room) for room in found - {"", "properties"} if room not in below and (PACKAGE / room).exists()}


def test_modules_are_imported_by_names_that_are_written_down() -> None:
    """Whatever else is imported, no other test here can see."""
    unseen = {path.as_posix() for path in ALL if any(module.startswith("<") for module in imported(path))}
    assert unseen == set(NAMED_WHEN_RUN)


def test_every_module_is_in_a_room() -> None:
    homeless = [path for path in ALL if path.with_suffix("").parts[0] not in ROOMS]
    assert homeless == [Path("__init__.py")]


def test_no_room_holds_more_than_a_quarter() -> None:
    lines = {path: len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) for path in ALL}
    share = {room: sum(lines[path] for path in ALL if path.with_suffix("").parts[0] == room) for room in ROOMS}
    assert max(share.values()) <= LARGEST_SHARE * sum(lines.values()), share


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_recbole_plotly_and_ray_have_their_rooms(library: str) -> None:
    """They are named nowhere else, not even inside a function."""
    elsewhere = [path for path in ALL if not path.as_posix().startswith(MAY_IMPORT[library])]
    assert [path for path in elsewhere if any(within(module, library) for module in imported(path))] == []


def test_no_module_starts_recbole() -> None:
    """recbole.quick_start imports Ray and resolves the model again."""
    assert [path for path in ALL if any(within(module, "recbole.quick_start") for module in imported(path))] == []


def test_no_module_unpickles() -> None:
    """A pickle runs whatever is in it."""
    assert {path: found for path in ALL if (found := list(unpicklings(parsed(path))))} == {}


def test_ray_is_not_imported_before_it_is_used() -> None:
    """Not even by the module of the search: training must not depend on whether Ray is there."""
    modules = "recbole_dtlns.commands.command_line, recbole_dtlns.studies.tune.search"
    code = f"import sys, {modules}; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_pages_are_written_without_what_trains() -> None:
    """A finished comparison or search is drawn from its files."""
    modules = ", ".join(f"recbole_dtlns.reports.{path.stem}" for path in ALL if path.parts[0] == "reports")
    code = f"import sys, {modules}; print({{'recbole', 'recbole_dtlns.bridge.runner'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("import recbole.data", "recbole.data"),
        ("from recbole import quick_start", "recbole.quick_start"),
        ("def f():\n    from recbole_dtlns.bridge import runner", "recbole_dtlns.bridge.runner"),
        ("from .. import bridge", "recbole_dtlns.bridge"),
        ("from ..bridge import runner", "recbole_dtlns.bridge"),
        ("from . import table", "recbole_dtlns.judges.table"),
        ("import importlib\nimportlib.import_module('ray.tune')", "ray.tune"),
        ("import_module('..bridge.runner', __package__)", "recbole_dtlns.bridge.runner"),
        ("import_module(HIGH + '.runner')", "<import_module(HIGH + '.runner')>"),
        ("optional_import('recbole', 'x', 'y')", "recbole"),
        ("run([sys.executable, '-m', 'recbole_dtlns.bridge.runner'])", "recbole_dtlns.bridge.runner"),
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


def test_all_but_the_bridge_runs_where_recbole_is_missing() -> None:
    """Every module below the bridge is imported in a process in which RecBole, Ray and plotly cannot be."""
    missing = ("recbole", "ray", "plotly")
    below = [path for path in ALL if path.with_suffix("").parts[0] in ROOMS[: ROOMS.index("bridge")]]
    modules = [".".join(["recbole_dtlns", *path.with_suffix("").parts]).removesuffix(".__init__") for path in below]
    code = f"""
import importlib, importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ImportError(f"{{name}} was imported")

sys.meta_path.insert(0, Refuse())
for module in {modules!r}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
