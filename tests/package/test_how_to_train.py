"""The pages on refits, warm starts and explanations: their commands, files and programs are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from recbole_dtlns.commands.command_line import main
from recbole_dtlns.studies.compare.experiment_file import read_experiment

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
QUICK = ["--train_batch_size=20000", "--eval_batch_size=400000", "--show_progress=False", "--dtlns_preset=off"]
SMALL = ["--n_layers=1", "--embedding_size=8"]


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```", (PAGES / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for kind, text in blocks(page) if kind == "console" for line in text.splitlines() if line]


def run(command: list[str], *further: str) -> int:
    assert command[0] == "recbole-dtlns"
    return main([*command[1:], *further])


def test_the_commands_of_the_page_on_refits(capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands("refit"):
        kept = [part for part in command if not part.startswith(("--epochs=", "--refit="))]
        few = ["--epochs=2", "--refit=1"] if len(kept) < len(command) else ["--epochs=1"]
        assert run(kept, *QUICK, *SMALL, *few) == 0
        assert "test (refit)" in capsys.readouterr().out


def test_the_experiment_of_the_page_on_refits() -> None:
    ((_, text),) = [block for block in blocks("refit") if block[0] == "yaml"]
    Path("refit.yaml").write_text(text)
    assert yaml.safe_load(text)["refit"] is True
    assert read_experiment("refit.yaml").refit


def test_the_pages_on_warm_starts_and_explanations(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recbole-dtlns", "train", "--model=BPR", "--dataset=ml-100k", "--epochs=1"], *QUICK) == 0
    folder = capsys.readouterr().out.strip().splitlines()[-1].removeprefix("run folder: ")
    (command,) = commands("warm-start")
    further = ["--eval_args={'split': {'RS': [0.8, 0.1, 0.1]}, 'order': 'RO', 'group_by': 'user', 'mode': 'full'}"]
    again = [part.replace("RUN", folder) for part in command]
    assert run(again, *QUICK, *further, "--epochs=1") == 0, "the same split: what was learnt is in train"
    assert run(again, *QUICK, "--seed=1", "--epochs=1") == 2, "another random split"
    assert "would be inflated" in capsys.readouterr().err
    for one in commands("explain"):
        assert run([part.replace("RUN", folder) for part in one]) == 0
    assert Path("why.html").stat().st_size < 100_000
    ((_, program),) = [block for block in blocks("explain") if block[0] == "python"]
    capsys.readouterr()
    exec(compile(program.replace('"RUN"', repr(folder)), "explain.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_growth_experiment_can_be_read() -> None:
    cells = read_experiment("growth").cells
    assert {cell.grown_from for cell in cells if not cell.reference} == {None, 0.7}
