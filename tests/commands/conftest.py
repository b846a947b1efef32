"""A trained run, for the commands that serve it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_runs import PLAIN, train, write_tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, moved away from its data."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECBOLE_DTLNS_CACHE", str(folder / "cache"))
        run = train("LightGCN", write_tiny(), **PLAIN)
        return Path(shutil.move(run.folder, folder / "moved"))
