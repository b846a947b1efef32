"""The README's section on recommendations does what it says: its commands and programs are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from recbole_dtlns.commands.command_line import main

README = Path(__file__).resolve().parents[2] / "README.md"
SECTION = re.search(r"^## Recommendations\n(.*?)^## ", README.read_text(), re.DOTALL | re.MULTILINE)[1]
FOLDER = "saved/LightGCN-ml-100k-<time>-<id>"
QUICK = ["--epochs=1", "--train_batch_size=20000", "--eval_batch_size=400000", "--show_progress=False"]
QUICK += ["--dtlns_preset=off", "--n_layers=1", "--embedding_size=8"]


def test_the_section_is_run_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    console, *programs = re.findall(r"^```(\w*)\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
    assert console[0] == "" and [language for language, _ in programs] == ["python", "python"]
    train, *others = (shlex.split(line, comments=True) for line in console[1].splitlines())
    assert train[0] == "recbole-dtlns" and main([*train[1:], *QUICK]) == 0
    folder = capsys.readouterr().out.strip().splitlines()[-1].removeprefix("run folder: ")
    assert re.fullmatch(FOLDER.replace("<time>-<id>", r"[\w-]+"), folder)
    for command in others:
        assert main([part.replace(FOLDER, folder) for part in command[1:]]) == 0
    recommended = pd.read_parquet("recommendations.parquet")
    assert (recommended.groupby("user_id").size() == 20).all() and recommended["user_id"].nunique() == 943
    capsys.readouterr()
    for _, program in programs:
        exec(compile(program.replace(FOLDER, folder), str(README), "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("196 [") and "'242'" not in said[0]
    assert len(eval(said[-1])) == 10


def test_every_value_of_exclude_is_listed() -> None:
    from recbole_dtlns.bridge.serving.trained_run import _PARTS
    from recbole_dtlns.commands.recommend import NONE

    listed = re.findall(r"^\| `(\w+)`", SECTION, re.MULTILINE)
    assert listed == [*_PARTS, NONE]
