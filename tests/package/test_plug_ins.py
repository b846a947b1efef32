"""The package that the guide shows, installed into an environment: its components are chosen, documented and run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import run, serving

from recbole_dtlns.conformance import (
    ENGINE_CHECKS,
    JUDGE_CHECKS,
    LIST_LOSS_CHECKS,
    METHOD_CHECKS,
    PAIRWISE_JUDGE_CHECKS,
    POOL_CHECKS,
    ROW_LOSS_CHECKS,
    SAMPLER_CHECKS,
    TEACHER_CHECKS,
)
from recbole_dtlns.training.fork_server import ForkServer

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("methods", "teachers", "judges", "engines", "samplers", "pools", "losses")
BROKEN = """
[project.entry-points."recbole_dtlns.pools"]
unpopular = "my_recommenders:UnpopularFirst"
lost = "no_such_module:Pool"
"""


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs" / "how-to" / "plug-in.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Processes that see what is installed here, and the guide's package as pip installs it."""
    source, folder = tmp_path_factory.mktemp("my-recommenders"), tmp_path_factory.mktemp("installed")
    (source / "my_recommenders.py").write_text(blocks("python")[0])
    project = blocks("toml")[0]
    assert all(f'"recbole_dtlns.{kind}"' in project for kind in KINDS)
    part = project[project.index('[project.entry-points."recbole_dtlns.pools"]') :].split("\n\n")[0]
    (source / "pyproject.toml").write_text(project.replace(part, BROKEN.strip()))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*install, f"--target={folder}", str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with serving(folder) as server:
        yield server


def test_its_keys_are_documented_and_what_cannot_be_imported_is_named(
    installed: ForkServer, empty_folder: Path
) -> None:
    done = run("run_command", "keys", "second", server=installed)
    shown = blocks("console")[0].split("\n", 1)[1].strip()
    assert (done.returncode, done.stdout.strip()) == (0, shown)
    assert "warning: the pool 'lost' (no_such_module:Pool of my-recommenders 1.0) cannot be imported" in done.stderr
    everything = run("run_command", "keys", server=installed).stdout
    for line in (
        "dtlns_shared_damping: 0.5  (float; teacher shared (my-recommenders 1.0))",
        "dtlns_first_few: 3  (int; judge first (my-recommenders 1.0))",
        "dtlns_squared_hinge_margin: 1.0  (float; loss squared_hinge (my-recommenders 1.0))",
    ):
        assert line in everything
    assert "dtlns_second" not in run("run_command", "keys", "--format=yaml", server=installed).stdout


def test_doctor_names_what_cannot_be_imported(installed: ForkServer, empty_folder: Path) -> None:
    done = run("run_command", "doctor", server=installed)
    assert "the pool 'lost' (no_such_module:Pool of my-recommenders 1.0) cannot be imported" in done.stdout


@pytest.mark.parametrize(
    ("place", "keys"),
    [
        (0, ("shared_damping: 0.3", "first_few: 2", "second_k: 3", "squared_hinge_margin: 1.0")),
        (1, ("method: spare", "spare_items: 20")),
        (2, ("loss: squares", "loss_named: 0.3")),
    ],
)
def test_its_components_train_by_the_guides_commands(
    installed: ForkServer, empty_folder: Path, place: int, keys: tuple[str, ...]
) -> None:
    line = [line for line in blocks("bash")[0].splitlines() if line.startswith("recbole-dtlns train")][place]
    quick = ["--epochs=1", "--user_inter_num_interval=[0,40]", "--show_progress=False"]
    done = run("run_command", *line.split()[1:], *quick, server=installed)
    assert done.returncode == 0, done.stderr
    (config,) = empty_folder.glob("saved/*/config.yaml")
    written = config.read_text()
    for key in keys:
        assert f"dtlns_{key}\n" in written


def test_its_engine_answers_by_the_guides_command(installed: ForkServer, empty_folder: Path) -> None:
    (line,) = [line for line in blocks("bash")[0].splitlines() if line.startswith("recbole-dtlns judge")]
    done = run("run_command", *line.split()[1:], "--dtlns_candidates=2", "--show_progress=False", server=installed)
    assert done.returncode == 0, done.stderr
    probabilities = {row.split("\t")[3] for row in (empty_folder / "labels.tsv").read_text().splitlines()[1:]}
    assert probabilities == {"0.9"}


def test_its_components_pass_the_guides_test(installed: ForkServer, empty_folder: Path) -> None:
    """Every check of conformance for every kind, by pytest as its author would run it."""
    (empty_folder / "test_my_recommenders.py").write_text(blocks("python")[1])
    code = "import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'test_my_recommenders.py']))"
    done = run("run_code", code, server=installed)
    assert done.returncode == 0, done.stdout
    kinds = (
        METHOD_CHECKS,
        TEACHER_CHECKS,
        JUDGE_CHECKS,
        PAIRWISE_JUDGE_CHECKS,
        ENGINE_CHECKS,
        SAMPLER_CHECKS,
        POOL_CHECKS,
        ROW_LOSS_CHECKS,
        LIST_LOSS_CHECKS,
    )
    assert f"{sum(map(len, kinds))} passed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dtlns_second_k=0"], "dtlns_second_k: input should be greater than or equal to 1, not 0"),
        (["--dtlns_secnd_k=1"], "unknown key 'dtlns_secnd_k'. Did you mean 'dtlns_second_k'?"),
        (["--dtlns_pool=lost"], "the pool 'lost' (no_such_module:Pool of my-recommenders 1.0) cannot be imported"),
    ],
)
def test_what_is_wrong_is_named(installed: ForkServer, empty_folder: Path, arguments: list[str], message: str) -> None:
    done = run("run_command", "prepare", "--model=BPR", "--dataset=ml-100k", *arguments, server=installed)
    assert done.returncode == 2 and message in done.stderr
