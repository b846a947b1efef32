"""Every test works in an empty folder with an empty artefact store, so none can see another's files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

SPORTS = Path(__file__).resolve().parents[2] / "shared" / "sports"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """RecBole writes log/, saved/ and log_tensorboard/ into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECBOLE_DTLNS_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    root = logging.getLogger()
    for handler in root.handlers[:]:  # RecBole adds handlers for the first run of a process and never closes them
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()


@pytest.fixture
def sports() -> Path:
    """The published Sports files, where they are at hand."""
    if not SPORTS.is_dir():
        pytest.skip(f"the published Sports data is not at {SPORTS}")
    return SPORTS
