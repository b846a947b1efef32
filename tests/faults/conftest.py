"""The block data and its settings as files, and the command line in this process."""

from __future__ import annotations

import pytest
from commands import Command, write_run


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `recbole-dtlns ... --dataset=tiny` with the settings of the other tests."""
    return Command(write_run(), capsys)
