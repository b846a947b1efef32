"""Run folders that version 0.1.0 wrote still go on, are evaluated, teach, and serve as config files.

`run_of_0_1/` holds the block data and two runs on it as they were written, before the modules were moved: LightGCN with
`srns`, whose checkpoint holds a sampler's memory, past models and random states; and ItemKNN, whose model is a sparse
matrix. Nothing there is ever written anew. (Without a checksum, as still earlier checkpoints are: `test_resume.py`.)
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recbole_dtlns import run_recbole_dtlns

KEPT = Path(__file__).parent / "run_of_0_1"
METRICS = ("best_valid_score", "best_valid_result", "test_result")


@pytest.fixture(autouse=True)
def here(empty_folder: Path) -> None:
    """Beside the data, where these runs were made."""
    shutil.copytree(KEPT, empty_folder, dirs_exist_ok=True)


def again(model: str, **settings: Any) -> dict[str, Any]:
    """A run by the kept config file."""
    return run_recbole_dtlns(config_file_list=[f"{model}/config.yaml"], config_dict=settings)


def same_metrics(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal up to one rank of one user, which another processor may round otherwise."""
    for key in METRICS:
        assert found[key] == pytest.approx(expected[key], abs=0.01), key


@pytest.mark.parametrize("model", ["LightGCN", "ItemKNN"])
@pytest.mark.parametrize("checkpoint", ["", "last.pth", "best.pth"])
def test_evaluated_again_it_has_the_same_metrics(model: str, checkpoint: str) -> None:
    """Nothing is trained: all epochs are done."""
    found = again(model, resume_from=str(Path(model, checkpoint)))
    assert not Path(found["run_folder"], "last.pth").exists()
    same_metrics(found, json.loads(Path(model, "result.json").read_text()))


@pytest.mark.parametrize("model", ["LightGCN", "ItemKNN"])
def test_its_config_file_gives_the_same_run(model: str) -> None:
    same_metrics(again(model), json.loads(Path(model, "result.json").read_text()))


def test_it_goes_on_as_a_run_that_was_never_interrupted() -> None:
    same_metrics(again("LightGCN", resume_from="LightGCN", epochs=5), again("LightGCN", epochs=5))


@pytest.mark.parametrize("model", ["LightGCN", "ItemKNN"])
def test_it_teaches(model: str) -> None:
    fresh = again(model)["run_folder"]
    taught = (
        again(
            "LightGCN", dtlns_teacher="checkpoint", dtlns_teacher_checkpoint=f"{folder}/best.pth", dtlns_sampler="dns"
        )
        for folder in (model, fresh)
    )
    same_metrics(*taught)
