"""These tests run under RecBole's own warnings: what a user would see on the console fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import write_tiny

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stricter than pyproject.toml, whose exemptions for RecBole's modules match this package's name too."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
    # RecBole's SINE turns it on where a test imports it, and every test would take longer.
    torch.autograd.set_detect_anomaly(False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On several threads RecBole adds gradients up in varying order, so its own results differ from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Config keys of the block data, written into the test's folder."""
    return write_tiny()
