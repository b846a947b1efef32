"""Models of features in a comparison, beside a reference that knows none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from rated import RANKED, RATED, write_rated

from recbole_dtlns.errors import ConfigError
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
