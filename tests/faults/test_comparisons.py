"""Comparisons whose files are damaged or whose process is killed: started again, they say what they said."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from damage import damage_one, files_in
from filelock import FileLock
from processes import PATIENCE, Children, wait_for
from seeds import seeds
from tiny_runs import write_tiny

from recbole_dtlns.errors import DTLNSError
from recbole_dtlns.studies.compare.compare import compare
from recbole_dtlns.studies.compare.comparison import Comparison

MOMENTS = [
    "*",
    "out/cells/*/cell.json",
    "out/cells/*/log.txt",
    "out/cells/*/train/*/last.pth",
    "out/cells/*/result.json",
]
_TIMES = ("seconds", "seconds_per_epoch")


def figures(content: Any) -> Any:
    """What a comparison found, without how long it took."""
    if isinstance(content, dict):
        return {key: figures(value) for key, value in content.items() if key not in _TIMES}
    return [figures(value) for value in content] if isinstance(content, list) else content


def run(output: Path | str) -> Comparison:
    return compare("tiny.yaml", output=output, say=lambda _: None)


def write_experiment() -> None:
    content = {
        "model": "BPR",
        "dataset": "tiny",
        "seeds": [1],
        "settings": {
            **write_tiny(str(Path("data").resolve())),
            "epochs": 20,
            "stopping_step": 20,
            "train_batch_size": 256,
            "embedding_size": 16,
            "metrics": ["NDCG"],
            "topk": [10],
            "valid_metric": "NDCG@10",
        },
        "arms": {"plain": {"dtlns_preset": "off"}, "DTL-NS": {}},
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """The folder of a comparison that nobody disturbed, and what it found."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECBOLE_DTLNS_CACHE", str(folder / "cache"))
        write_experiment()
        yield folder, figures(run("out").plain())


@pytest.fixture(autouse=True)
def in_its_folder(finished: tuple[Path, Any], empty_folder: Path) -> None:
    """The experiment is where the test is."""
    shutil.copy(finished[0] / "tiny.yaml", "tiny.yaml")


@pytest.mark.parametrize("seed", seeds(3, 40))
def test_a_damaged_comparison_never_says_something_else(seed: int, finished: tuple[Path, Any]) -> None:
    """Of cells whose files are damaged, what is needed is made again."""
    folder, expected = finished
    shutil.copytree(folder / "out", "out")
    path, what = damage_one(files_in(Path("out")), Random(seed))
    try:
        found = run("out")
    except DTLNSError as error:
        assert str(path) in str(error), f"{path}: {what}"
    else:
        assert figures(found.plain()) == expected, f"{path}: {what}"


@pytest.mark.parametrize("seed", seeds(1, 15))
def test_a_killed_comparison_goes_on_to_the_same_end(seed: int, finished: tuple[Path, Any], children: Children) -> None:
    """Started again at once, while the cells of the killed one may still be there."""
    random = Random(seed)
    moment = MOMENTS[(seed + 3) % len(MOMENTS)]
    killed = children.command("compare", "tiny.yaml", "--output=out", "--jobs=2")
    wait_for(lambda: any(Path().glob(moment)), f"{moment} exists", killed)
    time.sleep(random.uniform(0, 0.5))
    killed.kill()
    killed.wait()
    assert figures(run("out").plain()) == finished[1]
    for lock in Path("out").rglob("running.lock"):
        with FileLock(lock).acquire(timeout=PATIENCE):
            pass
