"""Several teachers in a run, and their judge as a recommender."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_data import block_pairs, split_pairs
from recbole.data.interaction import Interaction
from test_protocol_rule import artefact_files
from tiny_runs import train, write_tiny

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.errors import ConfigError, UnknownNameError, UnsupportedModelError
from recbole_dtlns.preparation.rehearsing import Rehearsing

COUNCIL: dict[str, Any] = {
    "dtlns_teachers": ["EASE", "ItemKNN", "BPR"],
    "dtlns_teacher_epochs": 2,
    "dtlns_judge": "calibrated",
    "dtlns_judge_learner": "auto",
    "dtlns_judge_rehearsals": 2,
}


def test_no_artefact_of_a_council_reads_evaluation_pairs() -> None:
    train_part, valid, test = split_pairs(*block_pairs())
    new_valid = (np.append(test[0], "a-new-user"), np.append(test[1], "i1-01"))
    new_test = (np.append(valid[0][::-1], "zz-new-user"), np.append(valid[1], "zz-new-item"))
    run = train("Council", write_tiny("first", (train_part, valid, test)), **COUNCIL, dtlns_cache_dir="cache-1")
    train("Council", write_tiny("second", (train_part, new_valid, new_test)), **COUNCIL, dtlns_cache_dir="cache-2")
    files = artefact_files("cache-1")
    assert {"teacher-EASE", "teacher-ItemKNN", "teacher-BPR", "council"} <= {Path(name).parent.name for name in files}
    assert files == artefact_files("cache-2")
    assert run.preparation is not None and len(run.preparation.candidates) > 0


def test_the_council_ranks_by_the_judges_probabilities(tiny: dict[str, Any]) -> None:
    run = train("Council", tiny, **COUNCIL)
    model, preparation = run.trainer.model, run.preparation
    assert preparation is not None
    judged = to_recbole_ids(preparation.judged, preparation.train, run.train)
    users = torch.arange(1, model.n_users)
    batch = Interaction({model.USER_ID: users})
    scores = model.full_sort_predict(batch).view(len(users), model.n_items)
    assert torch.equal(scores[judged.users - 1, judged.items], torch.as_tensor(judged.probability, dtype=torch.float32))
    others = torch.ones_like(scores, dtype=torch.bool)
    others[judged.users - 1, judged.items] = False
    assert (scores[others] < 0).all() and (scores[~others] >= 0).all()
    pairs = Interaction({model.USER_ID: users.repeat_interleave(model.n_items)})
    pairs.update(Interaction({model.ITEM_ID: torch.arange(model.n_items).repeat(len(users))}))
    assert torch.equal(model.predict(pairs).view_as(scores), scores)
    counts = np.bincount(run.train.inter_feat["item_id"], minlength=model.n_items)
    expected = counts / (counts.max() + 1) - 1
    np.testing.assert_allclose(scores[0][others[0]], expected[others[0].numpy()], rtol=1e-5)


def test_the_mask_of_a_council_holds_observed_pairs_alone(tiny: dict[str, Any]) -> None:
    council, plain = train("Council", tiny, **COUNCIL), train("Pop", tiny, dtlns_preset="off")
    for ours, theirs in zip(
        (council.data.valid_loader, council.data.test_loader),
        (plain.data.valid_loader, plain.data.test_loader),
        strict=True,
    ):
        for mine, other in zip(ours.uid2history_item, theirs.uid2history_item, strict=True):
            assert (mine is None and other is None) or sorted(mine.tolist()) == sorted(other.tolist())


def test_what_a_council_saves_ranks_as_it_did(tiny: dict[str, Any]) -> None:
    run = train("Council", tiny, **COUNCIL)
    again = train("Council", tiny, **COUNCIL, resume_from=str(run.folder))
    assert dict(again.result["test_result"]) == dict(run.result["test_result"])
    model = type(run.trainer.model)(run.config, run.train)
    model.load_other_parameter(run.trainer.model.other_parameter())
    batch = Interaction({model.USER_ID: torch.arange(1, model.n_users)})
    assert torch.equal(model.full_sort_predict(batch), run.trainer.model.full_sort_predict(batch))


def test_training_settings_have_no_part_in_a_council(tiny: dict[str, Any]) -> None:
    first = train("Council", tiny, **COUNCIL)
    other = train("Council", tiny, **COUNCIL, dtlns_preset="clean", dtlns_sampler="mixgcf", dtlns_loss="softmax")
    assert dict(first.result["test_result"]) == dict(other.result["test_result"])
    assert not other.config.settings.active and other.config.prepares


def test_a_student_learns_from_a_council(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, dtlns_preset="best", **COUNCIL)
    assert run.preparation is not None and len(run.preparation.positives) > 0


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        ({"dtlns_method": "off"}, UnsupportedModelError, "ranks by a judge's verdicts, and dtlns_method: off"),
        ({"dtlns_teachers": ["EASE", "ItemKNNN"]}, UnknownNameError, "unknown teacher 'ItemKNNN'.*'ItemKNN'"),
        ({"dtlns_teachers": ["EASE", "EASE"]}, ConfigError, "dtlns_teachers: 'EASE' is there twice"),
        ({"dtlns_council_depth": 40_000}, ConfigError, "dtlns_council_depth"),
    ],
)
def test_councils_that_cannot_be(tiny: dict[str, Any], keys: dict[str, Any], error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        train("Council", tiny, **{**COUNCIL, **keys})


@pytest.mark.parametrize(
    ("order", "given", "last"),
    [
        ("TO", {}, True),
        ("RO", {}, False),
        ("TO", {"dtlns_judge_hide_last": False}, False),
        ("TO", {"benchmark_filename": ["train", "valid", "test"]}, False),
    ],
)
def test_what_is_hidden_follows_the_split(tiny: dict[str, Any], order: str, given: dict[str, Any], last: bool) -> None:
    """Unless it is said: pairs that a cut by time hides from the model are each user's last. Files that are split in
    advance, which may hold no times, are not cut."""
    split = {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": order, "group_by": "user", "mode": "full"}}
    config = DTLNSConfig("BPR", "tiny", config_dict={**tiny, "benchmark_filename": None, **split, **given})
    assert Rehearsing.Config.from_flat(config.settings.flat).hide_last is last
    assert ("last" in Rehearsing(Rehearsing.Config.from_flat(config.settings.flat)).recipe()) is last
