"""Models of features in a comparison, beside a reference that knows none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from ordered import SEQUENCES, write_walks
from rated import RANKED, RATED, write_rated

from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.studies.compare.compare import compare


def experiment(folder: Path, **settings: Any) -> Path:
    content = {
        "about": "do chosen negatives help?",
        "model": "FM",
        "dataset": RATED,
        "seeds": [2020],
        "settings": {
            **write_rated(str(folder / "data"), labelled=False),
            "epochs": 1,
            "eval_batch_size": 5000,
            **settings,
        },
        "references": ["EASE"],
        "arms": {
            "plain RecBole": {"dtlns_preset": "off", "train_neg_sample_args": {"sample_num": 1}},
            "chosen": {"dtlns_sampler": "dns"},
        },
    }
    path = folder / "features.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_arms_of_features_are_compared_with_a_reference_on_the_same_users(tmp_path: Path) -> None:
    found = compare(experiment(tmp_path), output=tmp_path / "out", say=lambda _: None)
    users = pd.read_parquet(found.folder / "per_user.parquet")
    by_arm = {arm: set(rows["user_id"]) for arm, rows in users.groupby("arm")}
    assert by_arm.keys() == {"EASE", "plain RecBole", "chosen"}
    assert by_arm["EASE"] == by_arm["plain RecBole"] == by_arm["chosen"]
    assert (users["ndcg@10"] > 0).any()


def test_labels_are_no_measure_of_a_comparison(tmp_path: Path) -> None:
    by_label = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}}
    with pytest.raises(ConfigError, match=r"at least one of the metrics recall, ndcg, .*: set metrics"):
        compare(experiment(tmp_path, **{**RANKED, **by_label}), output=tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_columns_that_are_not_there_are_refused_when_the_experiment_is_read(tmp_path: Path) -> None:
    """Before any arm runs, the good ones of the experiment too."""
    path = experiment(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["arms"]["chosen"]["load_col"] = {"inter": ["user_id", "item_id"], "item": ["item_id", "colour"]}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(DataError, match=r"arm 'chosen': .*colour"):
        compare(path, output=tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_model_of_labels_is_told_how_it_is_compared(tmp_path: Path) -> None:
    """RecBole's defaults for DIN measure labels of rows; all that is to be set is said at once."""
    path = tmp_path / "din.yaml"
    cut = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "labeled"}
    settings = {**write_walks(str(tmp_path / "data")), "eval_args": cut}
    content = {"model": "DIN", "dataset": SEQUENCES, "references": [], "settings": settings, "arms": {"plain": {}}}
    advice = r"set metrics: \[Recall, NDCG\], valid_metric: NDCG@10, and eval_args to hold mode: full"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=rf"at least one of the metrics .*{advice}; RecBole's defaults .* DIN"):
        compare(path, output=tmp_path / "out", say=lambda _: None)
