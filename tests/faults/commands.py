"""The command line in this process: a start of Python with all imports costs more than a run on the block data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import QUICK, TINY, write_tiny

from recbole_dtlns.commands.command_line import main


def write_run() -> list[str]:
    """Write the block data and the settings of a quick run into this folder; returns the arguments that name them."""
    keys: dict[str, Any] = {**QUICK, **write_tiny(str(Path("data").resolve()))}
    Path("tiny.yaml").write_text(yaml.safe_dump(keys))
    return ["--model=BPR", f"--dataset={TINY}", "--config_files=tiny.yaml"]


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status, and what it said last on stderr."""

    status: int
    message: str


@dataclass(frozen=True)
class Command:
    """Runs commands with arguments that they share."""

    shared: Sequence[str]
    capsys: pytest.CaptureFixture[str]

    def __call__(self, name: str, *arguments: str) -> Ended:
        self.capsys.readouterr()
        status = main([name, *self.shared, *arguments])
        said = self.capsys.readouterr().err
        assert "Traceback" not in said
        return Ended(status, said.rsplit("recbole-dtlns: ", 1)[-1])

    def refused(self, name: str, *arguments: str) -> str:
        """The message of a command that must be refused."""
        ended = self(name, *arguments)
        assert ended.status == 2, f"{' '.join(arguments)} was accepted"
        return ended.message


def figures(folder: Path) -> dict[str, Any]:
    """The measured values of a run."""
    result = json.loads((folder / "result.json").read_text())
    return {key: result[key] for key in ("best_valid_score", "best_valid_result", "test_result")}


def newest_run(folder: str | Path = "saved") -> Path:
    return max(Path(folder).iterdir(), key=lambda path: path.stat().st_mtime_ns)
