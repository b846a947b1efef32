"""The rule above all others: nothing that is not observed in the train split may reach the evaluation.

Each test here fails for a change that would inflate a reported metric.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from block_data import block_pairs, split_pairs
from recbole.evaluator import Collector
from tiny_runs import (
    PLAIN,
    RELABEL_ALL,
    Run,
    as_set,
    observed,
    per_user,
    plain_recbole_loaders,
    relabelled,
    same_tensors,
    train,
    used_pairs,
    write_tiny,
)

from recbole_dtlns import export_requests, judge_candidates, prepare_only, transform_files
from recbole_dtlns.errors import CheckpointError

ML_100K = {"train_batch_size": 20_000, "eval_batch_size": 400_000}


@pytest.fixture
def relabelling_run(tiny: dict[str, Any]) -> Run:
    """A run with every relabelling option on, for a model that takes all of them."""
    return train("LightGCN", tiny, **RELABEL_ALL)


@pytest.mark.parametrize("dataset", ["tiny", "ml-100k"])
def test_evaluation_mask_is_that_of_plain_recbole_for_every_user(dataset: str, tiny: dict[str, Any]) -> None:
    keys = tiny if dataset == "tiny" else ML_100K
    run = train("LightGCN", keys, dataset=dataset, n_layers=1, **RELABEL_ALL)
    assert len(relabelled(run)[0]) > 100, "without pseudo-positives the comparison would show nothing"

    _, *plain = plain_recbole_loaders("LightGCN", dataset, keys)
    for ours, theirs in zip((run.data.valid_loader, run.data.test_loader), plain, strict=True):
        assert ours._dataset.field2token_id == theirs._dataset.field2token_id
        assert per_user(ours.uid2history_item) == per_user(theirs.uid2history_item)
        assert per_user(ours.uid2positive_item) == per_user(theirs.uid2positive_item)


def test_samplers_hold_observed_pairs_and_nothing_else(relabelling_run: Run) -> None:
    data = relabelling_run.data
    parts = [observed(loader._dataset) for loader in (data.train_loader, data.valid_loader, data.test_loader)]
    positives, forbidden = map(as_set, relabelled(relabelling_run))
    assert positives
    assert positives <= forbidden
    assert positives & parts[2], "no pseudo-positive is a test positive: the test would show nothing"

    assert used_pairs(data.train_loader._sampler) == parts[0]
    assert used_pairs(data.valid_loader._sampler) == parts[0] | parts[1]
    assert used_pairs(data.test_loader._sampler) == parts[0] | parts[1] | parts[2]


def test_a_pseudo_positive_that_is_a_test_positive_counts_as_a_hit(relabelling_run: Run) -> None:
    """Scores put exactly these pairs on top and the other test positives last, so recall@10 is known."""
    trainer, loader = relabelling_run.trainer, relabelling_run.data.test_loader
    test_pairs = observed(loader._dataset)
    hits = as_set(relabelled(relabelling_run)[0]) & test_pairs
    scores = torch.zeros(loader._dataset.user_num, loader._dataset.item_num)
    for pairs, score in ((test_pairs, -1.0), (hits, 1.0)):
        for pair in pairs:
            scores[pair] = score
    trainer.model.full_sort_predict = lambda interaction: scores[interaction["user_id"]].clone()

    users = sorted({user for user, _ in test_pairs})
    shares = [
        sum(pair in hits for pair in test_pairs if pair[0] == user) / sum(pair[0] == user for pair in test_pairs)
        for user in users
    ]
    assert trainer.evaluate(loader, load_best_model=False)["recall@10"] == pytest.approx(np.mean(shares), abs=1e-4)
    assert hits


def test_metrics_of_a_fixed_model_do_not_depend_on_relabelling(tiny: dict[str, Any], relabelling_run: Run) -> None:
    plain = train("LightGCN", tiny, **PLAIN)
    evaluate = relabelling_run.trainer.evaluate
    for ours, theirs in (
        (relabelling_run.data.valid_loader, plain.data.valid_loader),
        (relabelling_run.data.test_loader, plain.data.test_loader),
    ):
        assert evaluate(ours, load_best_model=False) == evaluate(theirs, load_best_model=False)


def test_sampled_evaluation_draws_as_if_nothing_were_relabelled(tiny: dict[str, Any]) -> None:
    """`uni20` rejects what a sampler holds as used: the same leak by another door. Pseudo-positives stay eligible."""
    settings = {**tiny, "eval_args": {"mode": "uni20"}}
    relabelling, plain = train("LightGCN", settings, **RELABEL_ALL), train("LightGCN", settings, **PLAIN)
    drawn: set[tuple[int, int]] = set()
    for name in ("valid_loader", "test_loader"):
        batches = []
        for run in (relabelling, plain):
            np.random.seed(7)
            batches.append([batch for batch, *_ in getattr(run.data, name)])
        for ours, theirs in zip(*batches, strict=True):
            assert same_tensors(ours.interaction, theirs.interaction)
            drawn |= set(zip(ours["user_id"].tolist(), ours["item_id"].tolist(), strict=True))
    known = observed(relabelling.data.valid_loader._dataset) | observed(relabelling.data.test_loader._dataset)
    assert drawn & (as_set(relabelled(relabelling)[0]) - known)


COUNTING_METRICS = {
    "metrics": ["ItemCoverage", "AveragePopularity", "GiniIndex", "ShannonEntropy", "TailPercentage", "NDCG"]
}


def test_counts_of_the_train_split_do_not_hold_pseudo_positives(tiny: dict[str, Any]) -> None:
    """RecBole's popularity metrics count the items of `train_data.dataset`."""
    plain, relabelling = (train("LightGCN", tiny, **COUNTING_METRICS, **settings) for settings in (PLAIN, RELABEL_ALL))
    counts = []
    for run in (plain, relabelling):
        collector = Collector(run.config)
        collector.data_collect(run.data.train_loader)
        counts.append(collector.data_struct._data_dict)
    assert counts[0] == counts[1]
    assert observed(relabelling.train) == observed(plain.train)
    assert len(relabelling.train) == len(plain.train)


# --- nothing before evaluation reads validation or test pairs ---

TEACHERS: dict[str, dict[str, Any]] = {
    "EASE": {},
    "ItemKNN": {},
    "BPR": {"dtlns_teacher_epochs": 2},
    "LightGCN": {"dtlns_teacher_epochs": 2},
    "MultiVAE": {"dtlns_teacher_epochs": 2},
}


def artefact_files(cache: str) -> dict[str, bytes]:
    """Every file of an artefact store by its path in it, lock files left out."""
    return {
        str(file.relative_to(cache)): file.read_bytes()
        for file in sorted(Path(cache).rglob("*"))
        if file.is_file() and file.suffix != ".lock"
    }


@pytest.mark.parametrize("teacher", TEACHERS)
def test_artefacts_are_byte_identical_when_every_evaluation_pair_is_replaced(teacher: str) -> None:
    train_part, valid, test = split_pairs(*block_pairs())
    # Other pairs, some of which the first data call pseudo-positives or has in the other part, and tokens never seen.
    new_valid = (np.append(test[0], ["a-new-user", "u0-00"]), np.append(test[1], ["i1-01", "a-new-item"]))
    new_test = (np.append(valid[0][::-1], "zz-new-user"), np.append(valid[1], "zz-new-item"))
    settings = {**RELABEL_ALL, "dtlns_teacher": teacher, **TEACHERS[teacher]}
    first = write_tiny("first", (train_part, valid, test))
    second = write_tiny("second", (train_part, new_valid, new_test))

    run = train("LightGCN", first, **settings, dtlns_cache_dir="cache-1")
    train("LightGCN", second, **settings, dtlns_cache_dir="cache-2")

    files = artefact_files("cache-1")
    stages = {"teacher", "structure", "structure-tree", "semantic-tree", "verdicts", "relabelling"}
    assert {Path(name).parent.name for name in files} == stages
    assert files == artefact_files("cache-2")
    assert len(relabelled(run)[0]) > 0


@pytest.mark.parametrize("scaled", [{}, {"normalize_all": True}])
def test_what_a_language_model_is_asked_does_not_depend_on_the_times_of_evaluation_pairs(
    scaled: dict[str, Any],
) -> None:
    """RecBole fills missing times with the mean of all rows, and scales by extremes of all: the order would move."""
    parts = split_pairs(*block_pairs())
    asked = []
    for name, later in (("early", -(10**12)), ("near", 0), ("late", 10**12)):
        keys = write_tiny(name, parts)
        for part, after in (("train", 1000), ("valid", later), ("test", later)):
            file = Path(name, "tiny", f"tiny.{part}.inter")
            head, *rows = file.read_text().splitlines()
            times = [after + row * 37 % 1000 for row in range(len(rows))]
            missing = part == "train" and not scaled
            written = ["" if missing and row % 3 == 0 else str(time) for row, time in enumerate(times)]
            lines = [f"{row}\t{time}" for row, time in zip(rows, written, strict=True)]
            file.write_text("\n".join([f"{head}\ttimestamp:float", *lines, ""]))
        settings = {
            **keys,
            **scaled,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "dtlns_judge": "llm",
            "dtlns_engine": "recorded",
            "dtlns_judge_model": "any",
            "dtlns_judge_max_history": 3,
        }
        export_requests(f"{name}.jsonl", "BPR", "tiny", config_dict=settings)
        asked.append(Path(f"{name}.jsonl").read_text())
    assert asked[0]
    assert asked[0] == asked[1] == asked[2]


def test_every_way_to_prepare_looks_at_the_same_pairs(tiny: dict[str, Any]) -> None:
    """What a run left is found again by those that stop before training: they are given no pair more."""
    settings = {**tiny, **RELABEL_ALL, "dtlns_judge": "structural"}
    train("LightGCN", settings)
    before = artefact_files("cache")
    prepare_only("LightGCN", "tiny", config_dict=settings)
    judge_candidates("LightGCN", "tiny", config_dict=settings)
    transform_files("transformed", "LightGCN", "tiny", config_dict=settings)
    assert before
    assert artefact_files("cache") == before


@pytest.mark.parametrize("teacher", ["EASE", "BPR"])
def test_artefacts_do_not_depend_on_how_recbole_numbers_tokens(teacher: str) -> None:
    """Its ids follow the order of rows, and in data that is not split in advance that of evaluation pairs too."""
    parts = split_pairs(*block_pairs())
    renumbered = (tuple(tokens[::-1] for tokens in parts[0]), *parts[1:])
    settings = {**RELABEL_ALL, "dtlns_teacher": teacher, **TEACHERS[teacher]}
    runs = [
        train("LightGCN", write_tiny(name, order), **settings, dtlns_cache_dir=f"cache-{name}")
        for name, order in (("a", parts), ("b", renumbered))
    ]
    assert runs[0].train.field2token_id != runs[1].train.field2token_id
    assert artefact_files("cache-a") == artefact_files("cache-b")


def test_artefacts_follow_the_train_pairs() -> None:
    """The counterpart: the test above could pass for artefacts that depend on nothing."""
    train_part, valid, test = split_pairs(*block_pairs())
    fewer = (train_part[0][1:], train_part[1][1:])
    prepare_only("BPR", "tiny", config_dict=write_tiny("a", (train_part, valid, test)))
    before = artefact_files("cache")
    prepare_only("BPR", "tiny", config_dict=write_tiny("b", (fewer, valid, test)))
    assert len(artefact_files("cache")) == 2 * len(before)


# --- protocol authors: the published evaluation, marked wherever it goes ---

AUTHORS = {"dtlns_preset": "authors", "dtlns_teacher": "EASE"}


def test_protocol_authors_masks_purged_positives(tiny: dict[str, Any]) -> None:
    """It reproduces the leak on purpose; the difference to the clean mask is exactly the purged labels."""
    run = train("LightGCN", tiny, **AUTHORS)
    data = run.data
    parts = [observed(loader._dataset) for loader in (data.train_loader, data.valid_loader, data.test_loader)]
    labelled = as_set(relabelled(run)[1])
    purged = labelled - parts[1] - parts[2]
    assert labelled > purged > set()
    assert used_pairs(data.valid_loader._sampler) == parts[0] | purged | parts[1]
    assert used_pairs(data.test_loader._sampler) == parts[0] | purged | parts[1] | parts[2]
    added = {
        (int(user), int(item))
        for user, item in zip(
            data.train_loader._rows["user_id"][len(run.train) :],
            data.train_loader._rows["item_id"][len(run.train) :],
            strict=True,
        )
    }
    assert added == purged
    assert observed(data.model_dataset) == parts[0] | purged


def test_protocol_authors_lifts_metrics_of_the_same_model(tiny: dict[str, Any]) -> None:
    """Why the rule exists: the same scores get better numbers under the leaking mask."""
    leaking, clean = train("BPR", tiny, **AUTHORS, dtlns_relabel_graph=False), train("BPR", tiny)
    evaluate = clean.trainer.evaluate
    inflated = evaluate(leaking.data.test_loader, load_best_model=False)
    assert inflated["ndcg@10"] > evaluate(clean.data.test_loader, load_best_model=False)["ndcg@10"]


def test_the_published_mask_needs_no_training_on_it(tiny: dict[str, Any]) -> None:
    """The demo's last row: plain RecBole, evaluated under the leaking mask of a judge that knows nothing."""
    run = train("EASE", tiny, **PLAIN, dtlns_protocol="authors", dtlns_judge="always")
    parts = [observed(loader._dataset) for loader in (run.data.valid_loader, run.data.test_loader)]
    masked = as_set(relabelled(run)[1]) - parts[0] - parts[1]
    assert masked and masked <= used_pairs(run.data.test_loader._sampler)


def test_everything_a_leaking_run_writes_says_so(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run = train("BPR", tiny, **AUTHORS, dtlns_relabel_graph=False)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("inflated" in message and "leaking" in message for message in warnings)
    results = [record.getMessage() for record in caplog.records if record.getMessage().startswith("LEAKING ")]
    assert [message.partition(":")[0] for message in results] == ["LEAKING best valid", "LEAKING test result"]

    assert run.folder.name.startswith("LEAKING-")
    assert (run.result["leaking"], run.result["protocol"]) == (True, "authors")
    assert json.loads((run.folder / "result.json").read_text())["leaking"] is True
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["dtlns_protocol"] == "authors"
    for name in ("best.pth", "last.pth"):
        assert torch.load(run.folder / name, weights_only=True)["leaking"] is True


def test_a_clean_run_is_not_marked(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    run = train("BPR", tiny)
    assert not run.folder.name.startswith("LEAKING")
    assert (run.result["leaking"], run.result["protocol"]) == (False, "clean")
    assert json.loads((run.folder / "result.json").read_text())["leaking"] is False
    assert torch.load(run.folder / "best.pth", weights_only=True)["leaking"] is False
    assert "LEAKING" not in caplog.text


# --- knowledge of evaluation pairs cannot enter through a checkpoint ---


@pytest.fixture
def checkpoints(tiny: dict[str, Any]) -> dict[str, Path]:
    """Run folders of BPR: a clean one, a leaking one, and ones on other train pairs or other ids."""
    parts = split_pairs(*block_pairs())
    others = split_pairs(*block_pairs(), seed=1)
    renumbered = (tuple(tokens[::-1] for tokens in parts[0]), *parts[1:])
    runs = {
        "clean": train("BPR", tiny),
        "leaking": train("BPR", tiny, **AUTHORS, dtlns_relabel_graph=False),
        "other train pairs": train("BPR", write_tiny("other", others)),
        "other ids": train("BPR", write_tiny("renumbered", renumbered)),
    }
    return {name: run.folder for name, run in runs.items()}


REFUSED = {"leaking": "leaking|evaluation protocol", "other train pairs": "train pairs", "other ids": "number"}


@pytest.mark.parametrize("use", ["teacher", "resume"])
@pytest.mark.parametrize("origin", REFUSED)
def test_checkpoints_that_could_know_evaluation_pairs_are_refused(
    origin: str, use: str, tiny: dict[str, Any], checkpoints: dict[str, Path]
) -> None:
    """ "other ids": the same train pairs in another order; the weights would silently belong to other items."""

    def run_from(folder: Path) -> Run:
        path = str(folder / "last.pth")
        as_teacher = {"dtlns_teacher": "checkpoint", "dtlns_teacher_checkpoint": path}
        return train("BPR", tiny, epochs=2, **(as_teacher if use == "teacher" else {"resume_from": path}))

    with pytest.raises(CheckpointError, match=REFUSED[origin]):
        run_from(checkpoints[origin])
    run_from(checkpoints["clean"])


def test_a_clean_checkpoint_is_not_continued_under_the_leaking_protocol(
    tiny: dict[str, Any], checkpoints: dict[str, Path]
) -> None:
    """Its best.pth would be carried into a run folder marked otherwise than its content."""
    with pytest.raises(CheckpointError, match="evaluation protocol"):
        train("BPR", tiny, **AUTHORS, dtlns_relabel_graph=False, resume_from=str(checkpoints["clean"]))
