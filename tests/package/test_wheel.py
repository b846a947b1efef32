"""The wheel works outside the checkout: `properties/` travels in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from processes import run, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(target.glob("*.whl"))


def test_the_wheel_holds_code_and_properties(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "recbole_dtlns").rglob("*.py")}
    assert modules <= names
    yamls = {f"recbole_dtlns/{path.relative_to(ROOT)}" for path in (ROOT / "properties").rglob("*.yaml")}
    assert yamls and yamls <= names
    assert not any(name.startswith(("tests/", "properties/")) for name in names)


def test_an_installed_wheel_prepares_and_trains(wheel: Path, empty_folder: Path) -> None:
    installed = empty_folder / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    code = (
        "import sys, recbole_dtlns; from recbole_dtlns.commands.command_line import main; "
        f"assert recbole_dtlns.__file__.startswith({str(installed)!r}), recbole_dtlns.__file__; "
        "sys.exit(main(sys.argv[1:]))"
    )
    quick = ["--dataset=ml-100k", "--epochs=1", "--user_inter_num_interval=[0,40]", "--show_progress=False"]
    with serving(installed) as server:
        for arguments in (["doctor"], ["prepare", "--model=BPR", *quick], ["train", "--model=BPR", *quick]):
            done = run("run_code", code, *arguments, server=server)
            assert done.returncode == 0, done.stderr
    assert list(empty_folder.glob("saved/*/result.json"))
