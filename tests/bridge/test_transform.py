"""`DTLNSTransform` in programs that use RecBole's own classes: fitted on train alone, and no door for a leak."""

from __future__ import annotations

import copy
import random
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import get_model, get_trainer, init_seed
from shop import elsewhere, shop_parts, write_shop
from tiny_runs import QUICK, as_set, observed, per_user, plain_recbole_loaders, same_tensors, used_pairs

from recbole_dtlns import DTLNSTransform
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.transform import ORIGINS
from recbole_dtlns.data.atomic_file import OBSERVED, ORIGIN, RELABELLED, WEIGHT
from recbole_dtlns.errors import ConfigError, DataError, UnknownNameError
from recbole_dtlns.methods import Guidance, Method, Task
from recbole_dtlns.methods.table import METHODS

FEATURES = {"threshold": None, "mlp_hidden_size": [16], "eval_args": {"mode": "full"}, "metrics": ["Recall", "NDCG"]}
FEATURES |= {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": False, "alpha": 1.0}}


@pytest.fixture(autouse=True)
def recboles_warnings() -> Any:
    """RecBole's own classes warn of their age; nothing of this package's runner stands between."""
    with mock.patch.object(sys, "argv", ["run"]), warnings.catch_warnings(action="ignore"):
        yield


def built(keys: dict[str, Any], model: str = "BPR") -> tuple[Any, Any, list[Any]]:
    """RecBole's configuration, its data set, and the parts of it."""
    config = Config(model, "shop", config_dict={**QUICK, **keys})
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    return config, dataset, dataset.build()


@pytest.mark.parametrize("model", ["BPR", "DeepFM", "NeuMF"])
def test_plain_recbole_trains_on_what_it_returns(model: str) -> None:
    """The code of the docstring. The trees are features of DeepFM; only observed pairs mask its evaluation."""
    keys = write_shop(items=False)
    config, dataset, parts = built({**keys, **(FEATURES if model == "DeepFM" else {})}, model)
    transform = DTLNSTransform(relabel_top=3).fit(parts[0])
    new = [transform.transform(part) for part in parts]
    _, *samplers = create_samplers(config, dataset, parts)
    train_data = get_dataloader(config, "train")(config, new[0], transform.sampler(), shuffle=True)
    valid_data, test_data = (
        get_dataloader(config, phase)(config, part, sampler, shuffle=False)
        for phase, part, sampler in zip(("valid", "test"), new[1:], samplers, strict=True)
    )
    network = get_model(model)(config, train_data.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train_data, valid_data, saved=False, show_progress=False)
    assert trainer.evaluate(test_data, load_best_model=False)["recall@10"] > 0

    _, *plain = plain_recbole_loaders("BPR", "shop", keys)
    for ours, theirs in zip((valid_data, test_data), plain, strict=True):
        assert per_user(ours.uid2history_item) == per_user(theirs.uid2history_item)
        assert per_user(ours.uid2positive_item) == per_user(theirs.uid2positive_item)
    if model == "DeepFM":
        assert {"dtlns_structure_1", "dtlns_semantic_1"} <= set(network.token_field_names)
        assert {"dtlns_structure", "dtlns_semantic"} == set(network.token_seq_field_names)
        assert not {WEIGHT, ORIGIN} & set(network.field_names)


def test_train_gets_rows_and_the_others_stay_as_they_are() -> None:
    _, dataset, parts = built(write_shop(items=False))
    before = copy.deepcopy([vars(part.inter_feat) for part in parts])
    fields = dict(dataset.field2type)
    transform = DTLNSTransform(relabel_top=2, relabel_weight=0.5, relabel_decay=1).fit(parts[0])
    new = [transform.transform(part) for part in parts]

    for part, was in zip(parts, before, strict=True):
        assert same_tensors(part.inter_feat.interaction, was["interaction"])
        assert part.field2type == fields and part.item_feat is None
    for part, clean in zip(new[1:], parts[1:], strict=True):
        assert part.inter_feat is clean.inter_feat

    rows, n_observed = new[0].inter_feat, len(parts[0])
    assert same_tensors(
        {field: rows[field][:n_observed] for field in parts[0].inter_feat}, parts[0].inter_feat.interaction
    )
    positives = to_recbole_ids(transform.positives, transform.preparation.train, parts[0])
    added = rows[torch.arange(n_observed, len(rows))]
    assert set(zip(added["user_id"].tolist(), added["item_id"].tolist(), strict=True)) == as_set(positives)
    assert added[WEIGHT].tolist() == (0.5 / (1 + positives.place)).astype(np.float32).tolist()
    assert [ORIGINS[number] for number in rows[ORIGIN]] == [OBSERVED] * n_observed + [RELABELLED] * len(added)
    assert rows[WEIGHT][:n_observed].eq(1).all()


@pytest.mark.parametrize("order", ["TO", "RO"])
def test_it_hides_what_a_run_on_the_same_split_would(order: str) -> None:
    """Each user's last pairs where eval_args cuts by time: the data set's configuration says so, and no setting."""
    folder = Path("data", "shop")
    keys = write_shop(items=False)
    shutil.copy(folder / "shop.train.inter", folder / "shop.inter")
    split = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": order, "group_by": "user", "mode": "full"}
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    _, _, parts = built({**keys, "benchmark_filename": None, "load_col": columns, "eval_args": split})
    learnt = [
        DTLNSTransform(judge="calibrated", judge_hide=0.3, **said).fit(parts[0]).preparation.artefacts["verdicts"]
        for said in ({"judge_hide_last": order == "TO"}, {"judge_hide_last": order == "RO"}, {})
    ]
    assert [one.reused for one in learnt] == [False, False, True]
    assert learnt[2].path == learnt[0].path


def test_what_is_learnt_does_not_know_validation_or_test() -> None:
    """By token: RecBole's numbers differ, as there are other items."""
    parts = shop_parts()
    learnt = []
    for folder, given in (("data", parts), ("branch", [parts[0], *map(elsewhere, parts[1:])])):
        _, _, clean = built(write_shop(folder, given, items=False))
        transform = DTLNSTransform().fit(clean[0])
        found = transform.transform(clean[0])
        tokens = {
            token: [found.id2token(field, found.item_feat[field][number].numpy()).tolist() for field in transform.codes]
            for token, number in found.field2token_id["item_id"].items()
            if number and token in set(parts[0][1])
        }
        rows = found.inter_feat
        pairs = [found.id2token(field, rows[field].numpy()).tolist() for field in ("user_id", "item_id")]
        learnt.append((tokens, sorted(zip(*pairs, rows[WEIGHT].tolist(), strict=True))))
    assert learnt[0] == learnt[1]


def test_codes_are_features_of_items_and_padding_of_items_that_are_not_in_train() -> None:
    parts = shop_parts()
    _, _, clean = built(write_shop(parts=[parts[0], *map(elsewhere, parts[1:])], items=False))
    transform = DTLNSTransform().fit(clean[0])
    valid = transform.transform(clean[1])
    tree, names = transform.preparation.semantic, transform.preparation.train.item_tokens.tolist()
    features = valid.get_item_feature()
    assert len(features) == valid.item_num
    for token, path in zip(names, tree.paths, strict=True):
        number = valid.token2id("item_id", token)
        digits = path.split("-")
        nodes = ["-".join(digits[: level + 1]) for level in range(len(digits))]
        sequence = features["dtlns_semantic"][number]
        assert valid.id2token("dtlns_semantic", sequence[sequence > 0].numpy()).tolist() == nodes
        assert valid.id2token("dtlns_semantic_1", features["dtlns_semantic_1"][number].item()) == digits[0]
        deepest = f"dtlns_semantic_{tree.digits.shape[1]}"
        assert valid.id2token(deepest, features[deepest][number].item()) == path
    unknown = valid.token2id("item_id", "new-1")
    for field in features:
        if field != "item_id":
            assert not features[field][[0, unknown]].any()
            assert valid.num(field) == len(valid.field2id_token[field])


def test_its_sampler_draws_neither_observed_nor_forbidden_pairs() -> None:
    _, _, parts = built(write_shop(items=False))
    transform = DTLNSTransform().fit(parts[0])
    sampler = transform.sampler()
    np.random.seed(0)
    users = np.repeat(np.arange(1, parts[0].user_num), 1500)
    drawn = set(zip(users.tolist(), sampler.sample_by_user_ids(users, users, 1).tolist(), strict=True))
    forbidden = as_set(to_recbole_ids(transform.forbidden, transform.preparation.train, parts[0]))
    assert len(forbidden) > 100 and not drawn & (forbidden | observed(parts[0]))
    assert len(drawn) == (parts[0].user_num - 1) * (parts[0].item_num - 1) - len(forbidden | observed(parts[0]))
    assert used_pairs(sampler) == observed(parts[0]), "what derives a mask from a sampler would mask forbidden pairs"


def test_fitting_draws_nothing_from_the_programs_generators() -> None:
    """Whether a trained teacher comes from the cache or not, the model after it starts equal."""
    _, _, parts = built(write_shop(items=False))
    drawn = []
    for _ in range(2):
        init_seed(7, True)
        DTLNSTransform(teacher="BPR", teacher_epochs=1).fit(parts[0])
        drawn.append((torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()))
    init_seed(7, True)
    assert drawn == [(torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random())] * 2


def test_settings_are_those_of_a_run_with_or_without_their_prefix() -> None:
    assert DTLNSTransform(relabel_top=3).settings == DTLNSTransform(dtlns_relabel_top=3).settings
    assert DTLNSTransform(alpha_co=0.4).settings == DTLNSTransform(alpha_structure=0.4).settings, "an old name"
    for preset in ("rows", "best"):
        settings = DTLNSTransform(preset=preset, relabel_top=3).settings
        assert (settings.judge, settings.relabel_weight, settings.relabel_top) == ("calibrated", 10, 3)
        assert settings.relabel_add and not settings.takes_lists, "a transform adds rows"
    with pytest.raises(ConfigError, match="Did you mean 'dtlns_relabel_top'"):
        DTLNSTransform(relabel_topp=3)
    with pytest.raises(ConfigError, match="given twice"):
        DTLNSTransform(relabel_top=3, dtlns_relabel_top=3)
    with pytest.raises(UnknownNameError, match="bets"):
        DTLNSTransform(preset="bets")
    with pytest.raises(ConfigError, match="authors"):
        DTLNSTransform(preset="authors")
    with pytest.raises(ConfigError, match="nothing to transform"):
        DTLNSTransform(preset="off")


def test_a_wrong_order_of_steps_is_named() -> None:
    config, _, parts = built(write_shop(items=False))
    with pytest.raises(DataError, match="call fit"):
        DTLNSTransform().transform(parts[0])
    with pytest.raises(DataError, match=r"dataset\.build"):
        DTLNSTransform().fit(create_dataset(config))
    transform = DTLNSTransform().fit(parts[0])
    with pytest.raises(DataError, match="already"):
        transform.transform(transform.transform(parts[0]))


def test_a_method_that_tells_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says so beforehand, and one whose guidance turns out to be empty."""

    class Silent(Method):
        version = 1

        def guide(self, task: Task) -> Guidance:
            return Guidance(train=task.train)

    with pytest.raises(ConfigError, match="ask for no preparation"):
        DTLNSTransform(method="off")
    with pytest.raises(ConfigError, match="listwise learns from lists, and a transform adds rows"):
        DTLNSTransform(loss="listwise")
    monkeypatch.setitem(METHODS._builtin, "silent", Silent)
    with pytest.raises(ConfigError, match="dtlns_method: silent found nothing"):
        DTLNSTransform(method="silent").fit(built(write_shop(items=False))[2][0])


def test_added_rows_have_label_1_and_the_time_of_the_users_last_row() -> None:
    keys = {**write_shop(items=False), "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp", "device"]}}
    _, _, parts = built({**keys, "threshold": {"rating": 3}})
    rows = DTLNSTransform().fit(parts[0]).transform(parts[0]).inter_feat
    clean = parts[0].inter_feat
    assert clean["label"].unique().tolist() == [0, 1]
    for row in range(len(clean), len(rows)):
        own = clean["user_id"] == rows["user_id"][row]
        assert rows["label"][row] == 1 and rows["device"][row] == 0
        assert rows["timestamp"][row] == clean["timestamp"][own].max()


def test_a_part_without_rows_gets_its_codes() -> None:
    """A split may leave nothing for validation."""
    *_, parts = built(write_shop())
    empty = parts[1].copy(parts[1].inter_feat[:0])
    found = DTLNSTransform().fit(parts[0]).transform(empty)
    assert len(found) == 0
    assert "dtlns_structure" in found.field2type


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        (False, "dtlns_preset: off.* ask for no preparation"),
        (True, "dtlns_preset: must be the name of a preset, not True"),
        (None, "must be the name of a preset, not None"),
    ],
)
def test_a_preset_is_a_name(preset: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DTLNSTransform(preset=preset)
