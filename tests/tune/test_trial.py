"""A trial by itself, with what Ray would do for it played here: what it reports, and which model it keeps."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from block_data import block_pairs, split_pairs, write_splits

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.pairs import canonical_train
from recbole_dtlns.bridge.runner import load_data
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.components import PREFIX
from recbole_dtlns.errors import TrialError
from recbole_dtlns.preparation import prepare
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.studies.tune.plan import Plan
from recbole_dtlns.studies.tune.results import Trial, _keep_best
from recbole_dtlns.studies.tune.space import Parameter
from recbole_dtlns.studies.tune.trial import train_trial
from recbole_dtlns.training.checkpoint import Checkpoint as SavedRun

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Whose validation score rises and soon falls."""
    keys = {"epochs": 8, "stopping_step": 8, "learning_rate": 0.1, "train_batch_size": 256, "valid_metric": "NDCG@10"}
    return {**keys, **write_splits(Path("data"), "tiny", *split_pairs(*block_pairs())), "dtlns_preset": "off"}


@dataclass
class Checkpoint:
    """As Ray's: a folder as it was."""

    path: Path

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        yield str(self.path)


@dataclass
class Tune:
    """The part of ray.tune that a trial sees."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    latest: Checkpoint | None = None

    def __post_init__(self) -> None:
        self.Checkpoint = SimpleNamespace(from_directory=self.keep)

    def keep(self, folder: str) -> Checkpoint:
        return Checkpoint(Path(shutil.copytree(folder, f"kept-{len(self.reports)}")))

    def get_checkpoint(self) -> None:
        return None

    def report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None) -> None:
        self.reports.append(metrics)
        self.latest = checkpoint or self.latest


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Tune:
    played = Tune()
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(tune=played))
    return played


def left(tune: Tune, checkpoint: Checkpoint | None) -> Trial:
    """The trial as Ray would hand it back at the end."""
    result = SimpleNamespace(metrics=tune.reports[-1], config={}, error=None, checkpoint=checkpoint, path="trial")
    return Trial.of_ray(result)


def test_a_trial_that_was_never_started_has_failed() -> None:
    """Ray hands it back without the values that it was to train with."""
    result = SimpleNamespace(metrics=None, config=None, error=OSError("None"), checkpoint=None, path="runs/a_00001")
    trial = Trial.of_ray(result)
    assert (trial.name, trial.sampled, trial.score, trial.error) == ("a_00001", {}, None, "OSError")


@pytest.mark.parametrize("every", [3, 100])
def test_the_model_that_is_tested_is_the_one_that_validation_scored(
    every: int, tiny: dict[str, Any], tune: Tune
) -> None:
    """However rarely checkpoints are asked for."""
    train_trial({}, "BPR", "tiny", tiny, checkpoint_every=every)
    scores = [report["valid_score"] for report in tune.reports]
    best = scores.index(max(scores)) + 1
    assert best % every and best < len(scores), f"the best must lie between checkpoints to show anything: {scores}"
    _keep_best(left(tune, tune.latest), Path("best.pth"))
    assert SavedRun.read("best.pth").best_valid_score == max(scores)


def test_another_model_than_the_scored_one_is_not_tested(tiny: dict[str, Any], tune: Tune) -> None:
    train_trial({}, "BPR", "tiny", {**tiny, "epochs": 1}, checkpoint_every=1)
    assert tune.latest is not None
    saved = tune.latest.path / "best.pth"
    replace(SavedRun.read(saved), best_valid_score=0.125).write(saved)
    with pytest.raises(TrialError, match=r"validation scored 0\.125, not the best one, of"):
        _keep_best(left(tune, tune.latest), Path("best.pth"))
    with pytest.raises(TrialError, match="left no checkpoint to test"):
        _keep_best(left(tune, None), Path("best.pth"))


@pytest.mark.parametrize(
    "keys",
    [
        {"dtlns_judge": "structural"},
        {"dtlns_judge": "calibrated", "dtlns_teacher": "ItemKNN"},
        {"dtlns_judge": "random", "dtlns_teacher": "BPR", "dtlns_teacher_epochs": 1},
    ],
    ids=lambda keys: keys["dtlns_judge"],
)
def test_all_that_the_preparation_reads_counts_as_its_settings(keys: dict[str, Any], tiny: dict[str, Any]) -> None:
    """A search says how many preparations it needs by the keys that it varies."""
    read: set[str] = set()

    class WatchedKeys(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            read.add(PREFIX + key)
            return super().__getitem__(key)

    config = DTLNSConfig("BPR", "tiny", config_dict={**tiny, **keys, "dtlns_preset": "clean"})
    flat = WatchedKeys(config.settings.flat)
    assembled: type[DTLNSSettings] = type(config.settings)

    class Watched(assembled):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            if name in assembled.model_fields:
                read.add(PREFIX + name)
            return super().__getattribute__(name)

    config.settings = Watched(**config.settings.flat)
    read.clear()
    _, parts, _ = load_data(config)
    prepare(flat, canonical_train(parts[0]), make_teacher(flat, parts[0]))
    read -= {"dtlns_cache_dir", "dtlns_refuse_damaged", "dtlns_preset"}  # where it is kept, and what the log says
    read -= {"dtlns_prepare_on", "dtlns_judge_ray_address"}  # where it is done
    read -= {"dtlns_loss", "dtlns_relabel_exclude"}  # whether scores fit the memory, and what is said of labels
    if keys["dtlns_judge"] != "calibrated":
        read -= {"dtlns_judge_reads_order"}  # whether data without times will do
    read -= {"dtlns_teachers"}  # likewise, where one teacher is named
    assert {"dtlns_tree_control", "dtlns_hide_train"} < read
    if keys["dtlns_judge"] != "calibrated":
        # of a rehearsal that nobody needs
        read -= {"dtlns_judge_hide", "dtlns_judge_hide_last", "dtlns_judge_rehearsals"}
    plan = Plan("BPR", "tiny", {**tiny, **keys, "dtlns_preset": "clean"}, ())
    assert read - plan.keys_of_preparation() == set()


def test_keys_that_no_stage_reads_are_no_settings_of_the_preparation(tiny: dict[str, Any]) -> None:
    """Those of other judges and teachers, of training, and of what is done with the prepared pairs."""
    plan = Plan("BPR", "tiny", {**tiny, "dtlns_preset": "clean"}, ())
    read = plan.keys_of_preparation()
    assert {"dtlns_teacher_ridge_k", "dtlns_judge_threshold", "dtlns_relabel_top", "eval_args"} <= read
    others = {
        "dtlns_teacher_knn_k",
        "dtlns_judge_lift",
        "dtlns_relabel_weight",
        "dtlns_alpha_structure",
        "dtlns_cache_dir",
    }
    assert not others & read
    space = (Parameter("dtlns_teacher", "choice", ("EASE", "ItemKNN")),)
    assert "dtlns_teacher_knn_k" in Plan("BPR", "tiny", plan.keys, space).keys_of_preparation()
