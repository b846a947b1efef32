"""Every test works in an empty folder with an empty artefact store, so none can see another's files."""

from __future__ import annotations

import gc
import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from processes import Children

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, by whatever test imports it first
_FINISHED = itertools.count(1)
_LEAVES_OTHERS_OPEN = {"vllm", "ray", "tune", "cluster"}  # what their libraries forget is found within a test, or never
SPORTS = Path(__file__).resolve().parents[2] / "shared" / "sports"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cpu", "cuda"), help="cpu hides every GPU; cuda fails where there is none")


def pytest_configure(config: pytest.Config) -> None:
    device = config.getoption("--device")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if device == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device=cuda: torch finds no GPU on this machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of few tests come first: a test takes longest there, and no worker is left alone with one at the end."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: tests[item.path])


def pytest_collection_finish() -> None:
    """What all tests share is not looked at by every `gc.collect` below, which so takes milliseconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Files and sockets left open are reported for the test that left them, not for a later one."""
    yield
    if next(_FINISHED) % 100 == 0:  # what was alive after its test may have become garbage since
        gc.unfreeze()
    gc.collect()
    if not _LEAVES_OTHERS_OPEN & {mark.name for mark in request.node.iter_markers()}:
        gc.freeze()


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
def children() -> Iterator[Children]:
    """Starts processes, and ends those that are left."""
    started = Children()
    yield started
    started.end()


@pytest.fixture
def sports() -> Path:
    """The published Sports files, where they are at hand."""
    if not SPORTS.is_dir():
        pytest.skip(f"the published Sports data is not at {SPORTS}")
    return SPORTS
