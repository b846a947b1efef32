"""What `recbole-dtlns transform` writes: plain RecBole reads it, and nothing in it knows validation or test."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from block_data import block_pairs, write_inter
from shop import elsewhere, shop_parts, write_shop
from tiny_runs import PLAIN, QUICK, observed, train, used_pairs

from recbole_dtlns import prepare_only, transform_files
from recbole_dtlns.bridge import transformed_files
from recbole_dtlns.commands.command_line import main
from recbole_dtlns.errors import ConfigError, DataError

NEW = Path("data/shop-dtlns")


def transformed(keys: dict[str, Any], output: Path = NEW, **settings: Any) -> Path:
    overwrite = settings.pop("overwrite", False)
    return transform_files(output, dataset="shop", config_dict={**keys, **settings}, overwrite=overwrite).folder


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def added(folder: Path) -> pd.DataFrame:
    rows = table(folder / f"{folder.name}.train.inter")
    return rows[rows["dtlns_origin:token"] == "relabelled"]


def pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["user_id:token"], rows["item_id:token"], strict=True))


# --- the protocol rule ---


def test_no_byte_of_train_items_and_forbidden_pairs_knows_validation_or_test() -> None:
    """Every validation and test pair is another one; half of them have items that are nowhere else."""
    parts = shop_parts()
    first = transformed(write_shop("data", parts))
    second = transformed(write_shop("branch", [parts[0], *map(elsewhere, parts[1:])]), Path("branch/shop-dtlns"))
    same = {"shop-dtlns.train.inter", "shop-dtlns.item", "shop-dtlns.forbidden", "shop-dtlns.user"}
    other = {"shop-dtlns.valid.inter", "shop-dtlns.test.inter"}
    assert {file.name for file in first.iterdir()} == same | other | {"README.md", "shop-dtlns.yaml"}
    assert len(added(first)) > 100
    for name in same:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    for name in other:
        assert (first / name).read_bytes() != (second / name).read_bytes(), name
    for name in ("README.md", "shop-dtlns.yaml"):
        assert (first / name).read_text() == (second / name).read_text().replace("branch", "data"), name


def test_no_byte_of_the_items_knows_them_where_there_was_no_item_file() -> None:
    parts = shop_parts()
    first = transformed(write_shop("data", parts, items=False))
    second = transformed(
        write_shop("branch", [parts[0], *map(elsewhere, parts[1:])], items=False), Path("branch/shop-dtlns")
    )
    assert (first / "shop-dtlns.item").read_bytes() == (second / "shop-dtlns.item").read_bytes()
    assert set(table(first / "shop-dtlns.item")["item_id:token"]) == set(parts[0][1])


def test_validation_and_test_are_the_originals_to_the_byte() -> None:
    folder = transformed(write_shop())
    for part in ("valid", "test"):
        assert (folder / f"shop-dtlns.{part}.inter").read_bytes() == Path(f"data/shop/shop.{part}.inter").read_bytes()
    assert (folder / "shop-dtlns.user").read_bytes() == Path("data/shop/shop.user").read_bytes()


def test_a_run_on_the_folder_is_a_run_on_the_original() -> None:
    """The rows that say that they were relabelled are no observed ones, whatever columns are loaded."""
    keys = write_shop()
    settings = {"dtlns_relabel_top": 3, "dtlns_relabel_weight": 0.9}
    original = train("LightGCN", keys, dataset="shop", **settings)
    folder = transformed(keys, **settings)
    own = yaml.safe_load((folder / "shop-dtlns.yaml").read_text())
    assert own["dtlns_relabel_top"] == 3
    for columns in (["user_id", "item_id"], "*"):
        run = train("LightGCN", own, dataset="shop-dtlns", load_col={"inter": columns})
        assert run.preparation.train.fingerprint == original.preparation.train.fingerprint
        assert all(artefact.reused for artefact in run.preparation.artefacts.values())
        assert run.result["test_result"] == original.result["test_result"]
        parts = [loader._dataset for loader in (run.data.train_loader, run.data.valid_loader, run.data.test_loader)]
        assert used_pairs(run.data.test_loader._sampler) == set.union(*map(observed, parts))
        assert len(parts[0]) == len(shop_parts()[0][0])
    plain = [train("BPR", keys, dataset=name, **PLAIN).result for name, keys in (("shop", keys), ("shop-dtlns", own))]
    assert plain[0]["test_result"] == plain[1]["test_result"]


@pytest.mark.parametrize(
    ("written", "damaged", "said"),
    [
        ("relabelled", "Relabelled", "neither observed nor relabelled .*'Relabelled'"),
        ("relabelled\n", "\n", "neither observed nor relabelled"),
        ("dtlns_origin", "origin", "has the column dtlns_weight and lacks dtlns_origin"),
    ],
)
def test_a_row_of_which_it_is_not_said_what_it_is_stops_the_run(written: str, damaged: str, said: str) -> None:
    """Taken for observed, it would mask evaluation."""
    folder = transformed(write_shop())
    own = yaml.safe_load((folder / "shop-dtlns.yaml").read_text())
    file = folder / "shop-dtlns.train.inter"
    before, after = file.read_text().rsplit(written, 1)
    file.write_text(before + damaged + after)
    with pytest.raises(DataError, match=said):
        train("BPR", own, dataset="shop-dtlns", **PLAIN)


def test_a_split_without_validation_rows_is_refused_before_it_is_written() -> None:
    """What is written must be read again."""
    tokens = block_pairs()
    write_inter(Path("whole/tiny/tiny.inter"), *tokens)
    keys = {"data_path": "whole", "eval_args": {"split": {"RS": [0.9, 0, 0.1]}}}
    with pytest.raises(DataError, match="there are no valid rows"):
        transform_files("data/new", dataset="tiny", config_dict={**keys, "load_col": {"inter": ["user_id", "item_id"]}})
    assert not Path("data/new").exists()


# --- what is written ---


def test_train_holds_the_observed_rows_and_then_the_pseudo_positives() -> None:
    keys = write_shop()
    settings = {"dtlns_relabel_top": 2, "dtlns_relabel_weight": 0.8, "dtlns_relabel_decay": 2.0}
    folder = transformed(keys, **settings)
    rows = table(folder / "shop-dtlns.train.inter")
    original = table(Path("data/shop/shop.train.inter"))
    before = rows[rows["dtlns_origin:token"] == "observed"]
    assert before[list(original)].equals(original)
    assert set(before["dtlns_weight:float"]) == {"1"}

    found = prepare_only("BPR", "shop", config_dict={**keys, **settings})
    positives, names = found.relabelling.positives, found.train
    wanted = {
        (names.user_tokens[user], names.item_tokens[item]): f"{0.8 / (1 + place) ** 2:.10g}"
        for user, item, place in zip(positives.users, positives.items, positives.place, strict=True)
    }
    after = rows[rows["dtlns_origin:token"] == "relabelled"]
    assert dict(zip(pairs(after), after["dtlns_weight:float"], strict=True)) == wanted
    assert list(rows["dtlns_origin:token"]) == ["observed"] * len(before) + ["relabelled"] * len(after)
    forbidden = set(pairs(table(folder / "shop-dtlns.forbidden")))
    assert forbidden >= set(wanted) and not forbidden & set(pairs(original))


@pytest.mark.parametrize("threshold", [None, {"rating": 3}])
def test_other_columns_of_a_pseudo_positive_follow_one_policy(threshold: dict[str, float] | None) -> None:
    """The user's last time, the mean of numbers (of those that count as liked), nothing for tokens and sequences."""
    folder = transformed(
        {
            **write_shop(),
            "load_col": {"inter": ["user_id", "item_id", "rating"]},
            **({"threshold": threshold} if threshold else {}),
        }
    )
    original = table(Path("data/shop/shop.train.inter"))
    ratings = original["rating:float"].astype(float)
    mean = ratings[ratings >= 3].mean() if threshold else ratings.mean()
    last = original.groupby("user_id:token")["timestamp:float"].max()
    rows = added(folder)
    assert set(rows["rating:float"]) == {f"{mean:.10g}"}
    assert list(rows["timestamp:float"]) == list(last[rows["user_id:token"]])
    assert set(rows["device:token"]) == set(rows["tags:token_seq"]) == {""}
    assert ("threshold" in yaml.safe_load((folder / "shop-dtlns.yaml").read_text())) == (threshold is not None)


def test_a_column_of_labels_says_that_a_pseudo_positive_is_one() -> None:
    keys = write_shop()
    for file in Path("data/shop").glob("*.inter"):
        file.write_text(file.read_text().replace("rating:float", "label:float"))
    assert set(added(transformed(keys))["label:float"]) == {"1"}


def test_items_keep_their_columns_and_get_the_nodes_of_their_paths() -> None:
    keys = write_shop()
    Path("paths.tsv").write_text("item_id\tpath\n17\t1-0-2\n007\t1\n")
    folder = transformed(keys, dtlns_structure_paths=str(Path("paths.tsv").absolute()))
    items = table(folder / "shop-dtlns.item").set_index("item_id:token")
    levels = [f"dtlns_structure_{level}:token" for level in (1, 2, 3)]
    assert [column for column in items if column.startswith("dtlns_structure")] == [
        "dtlns_structure:token_seq",
        *levels,
    ]
    assert list(items.loc["17", ["title:token_seq", "price:float"]]) == ["A red shoe", "9.50"]
    assert items.loc["17", "dtlns_structure:token_seq"] == "1 1-0 1-0-2"
    assert list(items.loc["17", levels]) == ["1", "1-0", "1-0-2"]
    assert list(items.loc["007", levels]) == ["1", "1", "1"], "a leaf goes on below"
    assert list(items.loc["i1-05", levels]) == ["", "", ""], "no path"
    assert items.loc["unsold", "dtlns_semantic:token_seq"] == "", "not in train"
    assert list(items.index[:3]) == ["17", "i3-00", "unsold"]
    assert set(items.index) == {*shop_parts()[0][1], "unsold", "i3-00"}


def test_rows_that_recbole_filters_and_splits_are_written_as_they_were() -> None:
    """RecBole scales numbers and drops columns; the files of the parts hold what the original had."""
    write_shop()
    files = [table(Path(f"data/shop/shop.{part}.inter")) for part in ("train", "valid", "test")]
    whole = pd.concat(files, ignore_index=True)
    whole.loc[3, "rating:float"] = ""
    whole.loc[4, "user_id:token"] = ""
    whole.to_csv("data/shop/shop.inter", sep="\t", index=False)
    keys = {
        "data_path": "data",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "user_inter_num_interval": "[12,inf)",
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user", "mode": "full"},
    }
    run = train("BPR", keys, dataset="shop", dtlns_relabel_top=1)
    folder = transformed({**keys, "seed": QUICK["seed"]}, dtlns_relabel_top=1)
    original = set(whole.itertuples(index=False, name=None))
    for part, loader in (("train", run.data.train_loader), ("valid", run.data.valid_loader)):
        rows = table(folder / f"shop-dtlns.{part}.inter")
        if part == "train":
            rows = rows[rows["dtlns_origin:token"] == "observed"].iloc[:, :-2]
        assert set(rows.itertuples(index=False, name=None)) <= original
        data = loader._dataset
        tokens = [data.id2token(field, data.inter_feat[field].numpy()) for field in ("user_id", "item_id")]
        order = list if part == "train" else sorted  # RecBole's loaders of evaluation sort by user
        assert order(pairs(rows)) == order(zip(*tokens, strict=True))
    assert len(added(folder)) == len(run.preparation.relabelling.positives)


def test_pairs_alone_are_enough_and_some_users_have_no_positives(tiny: dict[str, Any]) -> None:
    """Without ratings and times there is nothing to make up."""
    labels = ["user_id\titem_id\tprobability"]
    labels += [f"u0-00\ti0-{number:02d}\t0.9" for number in range(20)]
    Path("labels.tsv").write_text("\n".join(labels) + "\n")
    given = {"dtlns_judge": "recorded", "dtlns_judge_labels": str(Path("labels.tsv").absolute())}
    folder = transform_files("data/less", dataset="tiny", config_dict={**tiny, **given}).folder
    rows = table(folder / "less.train.inter")
    assert list(rows) == ["user_id:token", "item_id:token", "dtlns_weight:float", "dtlns_origin:token"]
    assert set(added(folder)["user_id:token"]) == {"u0-00"}
    assert not (folder / "less.user").exists()


def test_switches_of_relabelling_decide_what_is_written() -> None:
    keys = write_shop()
    folder = transformed(keys, dtlns_relabel_add=False)
    assert added(folder).empty and len(table(folder / "shop-dtlns.forbidden")) > 100
    transformed(keys, dtlns_relabel_exclude=False, overwrite=True)
    assert len(added(folder)) > 100 and table(folder / "shop-dtlns.forbidden").empty


# --- plain RecBole ---

REAL_RECBOLE = """
import json, sys, types, warnings
warnings.simplefilter("ignore")
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray"].tune = types.ModuleType("tune")
import recbole_dtlns
recbole_dtlns.mend_recbole()
from recbole.quick_start import run_recbole
cases = json.loads(sys.argv.pop())
results = {}
for model, (files, settings) in cases.items():
    result = run_recbole(model=model, dataset="ml-dtlns", config_file_list=files, config_dict=settings, saved=False)
    results[model] = result["test_result"]
print("RESULT" + json.dumps(results))
"""


def features_of(folder: Path) -> dict[str, Any]:
    """The settings that the README names for models that take features."""
    return yaml.safe_load((folder / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0])


def test_recboles_own_quick_start_trains_on_the_folder() -> None:
    """As the README in the folder says: BPR with the .yaml, and DeepFM with the tree codes as features."""
    a_part = {"user_inter_num_interval": "[0,60]"}
    folder = transform_files("data/ml-dtlns", dataset="ml-100k", config_dict=a_part).folder
    features = features_of(folder)
    Path("features.yaml").write_text(yaml.safe_dump(features))
    assert {"dtlns_structure", "dtlns_structure_1", "dtlns_semantic", "dtlns_semantic_2"} < set(
        features["load_col"]["item"]
    )
    loading = str(folder / "ml-dtlns.yaml")
    quick = {"epochs": 2, "train_batch_size": 8192, "eval_batch_size": 4_000_000, "show_progress": False, "topk": [10]}
    cases = {
        "BPR": ([loading], quick),
        "DeepFM": ([loading, "features.yaml"], {**quick, "mlp_hidden_size": [16]}),
    }
    done = subprocess.run(
        [sys.executable, "-c", REAL_RECBOLE, json.dumps(cases)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.split("RESULT")[-1])
    assert all(results[model]["recall@10"] > 0.01 for model in cases), results
    assert "dtlns_structure" in done.stderr, "the log of DeepFM names its fields"


# --- the folder ---


def test_the_command_says_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [f"--{key}={value}" for key, value in write_shop().items()]
    assert main(["transform", "--dataset=shop", "--output=data/shop-dtlns", *keys]) == 0
    printed = capsys.readouterr().out
    count = len(added(NEW))
    assert f"{len(shop_parts()[0][0])} observed train rows and {count} pseudo-positives" in printed
    assert "  relabelling" in printed and f"{count} pseudo-positives" in (NEW / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=data/shop-dtlns", "--dtlns_relabel_topp=3"], "Did you mean 'dtlns_relabel_top'"),
        (["--output=data/shop-dtlns", "--benchmark_filenames=['a']"], "Did you mean 'benchmark_filename'"),
        (["--output=data/shop-dtlns", "--dtlns_preset=authors"], "dtlns_protocol: authors"),
        (["--output=data/shop-dtlns", "--dtlns_preset=off"], "nothing to transform"),
        (["--output=data/shop-dtlns", "--dtlns_hide_train=0.1"], "dtlns_hide_train"),
        (["--output=data/shop"], "the folder of the original data"),
        (["--output=."], "name a folder"),
        (["--output=data/my shop"], "spaces"),
        (["--output=data/ml-100k"], "RecBole reads its own data"),
        (["--output=file"], "is a file"),
        (["--output=file/below"], "cannot write file/below"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"--{key}={value}" for key, value in write_shop().items()]
    Path("file").write_text("no folder")
    assert main(["transform", "--dataset=shop", *arguments, *keys]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in Path("data").iterdir()) == ["shop"]


def test_a_folder_is_taken_only_when_it_is_empty_or_an_earlier_result() -> None:
    keys = write_shop()
    NEW.mkdir()
    transformed(keys)
    first = (NEW / "shop-dtlns.train.inter").read_bytes()
    with pytest.raises(ConfigError, match="--overwrite"):
        transformed(keys)
    transformed(keys, dtlns_relabel_top=1, overwrite=True)
    assert (NEW / "shop-dtlns.train.inter").read_bytes() != first
    (NEW / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"thesis\.txt, which this command did not write"):
        transformed(keys, overwrite=True)


def test_what_fails_halfway_leaves_the_old_folder_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = write_shop()
    transformed(keys)
    before = {file.name: file.read_bytes() for file in NEW.iterdir()}
    leftover = Path("data/.shop-dtlns.0123456789abcdef")  # of a killed process
    leftover.mkdir()

    def stop(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transformed_files, "readme", stop)
        with pytest.raises(KeyboardInterrupt):
            transformed(keys, dtlns_relabel_top=1, overwrite=True)
    assert {file.name: file.read_bytes() for file in NEW.iterdir()} == before
    assert sorted(path.name for path in Path("data").iterdir()) == ["shop", "shop-dtlns"]


def test_what_was_transformed_is_not_transformed_again() -> None:
    folder = transformed(write_shop())
    own = yaml.safe_load((folder / "shop-dtlns.yaml").read_text())
    with pytest.raises(DataError, match="pseudo-positives already"):
        transform_files("data/twice", dataset="shop-dtlns", config_dict=own)
    for file in folder.glob("*.inter"):
        file.write_text(file.read_text().replace("dtlns_origin", "x").replace("dtlns_weight", "y"))
    with pytest.raises(DataError, match="tree codes already"):
        transform_files("data/twice", dataset="shop-dtlns", config_dict=own)


def test_the_files_are_tables_that_any_reader_takes() -> None:
    """Names with quotation marks, commas and separators of other scripts come back as they were."""
    folder = transformed(write_shop())
    with (folder / "shop-dtlns.forbidden").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    names = {name for part in shop_parts() for column in part for name in column}
    assert rows[0] == ["user_id:token", "item_id:token"]
    assert {name for row in rows[1:] for name in row} <= names
    assert 'the "best"' in set(table(folder / "shop-dtlns.item")["item_id:token"])
