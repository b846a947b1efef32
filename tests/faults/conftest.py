"""The block data and its settings as files, and the command line in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Command
from tiny_runs import QUICK, TINY, write_tiny


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `recbole-dtlns ... --dataset=tiny` with the settings of the other tests."""
    keys: dict[str, Any] = {**QUICK, **write_tiny()}
    Path("tiny.yaml").write_text(yaml.safe_dump(keys))
    return Command(["--model=BPR", f"--dataset={TINY}", "--config_files=tiny.yaml"], capsys)
