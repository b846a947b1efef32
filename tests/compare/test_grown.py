"""Arms that begin with an earlier run: its data are cut from train by time; nothing of what is measured is in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from block_data import block_pairs, split_pairs, write_splits

from recbole_dtlns.errors import ConfigError, TrialError
from recbole_dtlns.studies.compare.compare import compare


def write_experiment(times: bool = True, **arm: Any) -> Path:
    keys = write_splits(Path("data"), "tiny", *split_pairs(*block_pairs()))
    for path in Path("data/tiny").iterdir():
        head, *rows = path.read_text().splitlines()
        timed = [f"{row}\t{number * 7919 % 1000}" for number, row in enumerate(rows)]
        path.write_text("\n".join([f"{head}\ttimestamp:float", *timed, ""]))
    columns = ["user_id", "item_id", *(["timestamp"] if times else [])]
    content = {
        "model": "BPR",
        "dataset": "tiny",
        "seeds": [2020],
        "settings": {
            **keys,
            "load_col": {"inter": columns},
            "epochs": 3,
            "valid_metric": "NDCG@10",
            "dtlns_preset": "off",
            "learning_rate": 0.01,
        },
        "references": [],
        "arms": {"scratch": {}, "warm": {"grown_from": 0.6, **arm}},
    }
    path = Path("grown.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_the_earlier_run_has_the_earliest_train_pairs_and_no_others() -> None:
    found = compare(write_experiment(), output="out", say=lambda text: None)
    assert [row.arm for row in found.rows] == ["scratch", "warm"]
    cell = cell_of("warm")
    train = pd.read_csv("data/tiny/tiny.train.inter", sep="\t").sort_values("timestamp:float", kind="stable")
    earlier = [
        pd.read_csv(cell / f"earlier/data/earlier/earlier.{part}.inter", sep="\t") for part in ("train", "valid")
    ]
    taken = pd.concat(earlier).merge(train, on=["user_id:token", "item_id:token"])
    assert len(taken) == sum(map(len, earlier)) == int(0.6 * len(train))
    assert taken["timestamp:float"].max() <= train["timestamp:float"].iloc[int(0.6 * len(train))]
    settings = yaml.safe_load(next(cell.glob("train/*/config.yaml")).read_text())
    assert settings["init_from"] == (cell / "earlier" / "done").read_text()
    curves = [json.loads((path / "result.json").read_text())["curve"] for path in (cell, cell_of("scratch"))]
    assert curves[0][0]["loss"] < curves[1][0]["loss"], "it begins with what was learnt"


def cell_of(arm: str) -> Path:
    return next(path for path in Path("out/cells").iterdir() if path.name.startswith(arm))


def test_what_cannot_be_cut_is_said() -> None:
    with pytest.raises(ConfigError, match="grown_from of the arm 'warm' is the share"):
        compare(write_experiment(grown_from=2))
    with pytest.raises(TrialError, match="grown_from cuts the train pairs by time, and the data have none"):
        compare(write_experiment_without_times(), output="out", say=lambda text: None)


def write_experiment_without_times() -> Path:
    shutil.rmtree("data")
    return write_experiment(times=False)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("SASRec", "SASRec learns from sequences"),
        ("DIN", "DIN learns from sequences"),
        ("FM", "FM learns from features of users and items"),
        ("KGAT", "KGAT learns from facts"),
        ("EASE", "EASE is computed in one pass"),
    ],
)
def test_a_model_that_cannot_grow_is_refused_with_the_reason(model: str, why: str) -> None:
    """Before any run; of the features and times of the data, the earlier run would know none."""
    path = write_experiment(model=model)
    keys = yaml.safe_load(path.read_text())
    keys["settings"] |= {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}
    keys["settings"] |= {"metrics": ["Recall", "NDCG"]}
    if model in ("SASRec", "DIN"):
        keys["settings"] |= {"benchmark_filename": None}
        rows = [row for part in Path("data/tiny").iterdir() for row in part.read_text().splitlines()[1:]]
        head = "user_id:token\titem_id:token\ttimestamp:float"
        Path("data/tiny/tiny.inter").write_text("\n".join([head, *rows, ""]))
    if model == "FM":
        keys["settings"] |= {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    if model == "KGAT":
        Path("data/tiny/tiny.kg").write_text("head_id:token\trelation_id:token\ttail_id:token\ne\tis\tf\n")
        Path("data/tiny/tiny.link").write_text("item_id:token\tentity_id:token\ni0-00\te\n")
        keys["settings"]["load_col"] |= {"kg": ["head_id", "relation_id", "tail_id"], "link": ["item_id", "entity_id"]}
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    with pytest.raises(ConfigError, match=rf"arm 'warm': grown_from: {why}"):
        compare(path, output="out", say=lambda text: None)
    assert not Path("out").exists()
