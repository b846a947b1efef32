"""A run folder alone gives what RecBole's own full ranking gives, for every model that trains."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.model.general_recommender.bpr import BPR
from recbole.utils.case_study import full_sort_topk
from test_zoo import SMALL
from tiny_runs import PLAIN, RELABEL_ALL, Run, observed, train

from recbole_dtlns import load_run
from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.bridge.serving.kept_data import DATA
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import CheckpointError, ConfigError, DataError, UnsupportedModelError
from recbole_dtlns.storage.sealed_arrays import load_arrays, save_arrays
from recbole_dtlns.training.checkpoint import BEST

K = 10
# Random draws its scores anew, and ADMMSLIM adds noise to them whenever it is asked.
ALIKE = [name for name in GENERAL if name not in ("Random", "ADMMSLIM")]
OF_PRODUCTS = [name for name, able in GENERAL.items() if able.layers is not None]
POPULARITY = "recbole_dtlns.bridge.models.popularity:Popularity"


def needs_faiss(model: str) -> None:
    if model == "NCL":
        pytest.importorskip("faiss")


def by_recbole(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, and their best items and scores, from RecBole's case study, with the objects of training."""
    test = run.data.test_loader
    with quiet_recbole():
        scores, items = full_sort_topk(test.uid_list.tolist(), run.trainer.model, test, K)
    users = run.train.id2token("user_id", test.uid_list.numpy())
    return users, run.train.id2token("item_id", items.numpy()), scores.numpy()


def assert_alike(run: Run, **named: Any) -> None:
    users, items, scores = by_recbole(run)
    found = load_run(run.folder).recommend(users, K, "evaluation", **named)
    assert found.users.tolist() == users.tolist()
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5, atol=1e-6)
    differing = found.items != items
    # Equal scores have no order.
    assert (np.isclose(scores[:, :, None], scores[:, None, :], rtol=1e-5, atol=1e-6).sum(axis=2)[differing] > 1).all()


@pytest.mark.parametrize("model", ALIKE)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:sklearn")
def test_every_model_recommends_as_recbole_does(model: str, tiny: dict[str, Any]) -> None:
    needs_faiss(model)
    assert_alike(train(model, tiny, **PLAIN, **SMALL.get(model, {})))


@pytest.mark.parametrize("model", ["Random", "ADMMSLIM"])
def test_models_that_draw_their_scores_are_loaded_too(model: str, tiny: dict[str, Any]) -> None:
    run = train(model, tiny, **PLAIN)
    users = load_run(run.folder).users[:3]
    assert load_run(run.folder).recommend(users, K, None).items.shape == (3, K)


@pytest.mark.parametrize("model", ["Council", POPULARITY])
def test_models_of_this_package_recommend_as_recbole_does(model: str, tiny: dict[str, Any]) -> None:
    assert_alike(train(model, tiny, dtlns_judge="calibrated", dtlns_preset="clean" if model == "Council" else "off"))


@pytest.mark.parametrize("model", ["LightGCN", "SGL", "FISM"])
def test_a_graph_or_history_of_pseudo_positives_is_kept_as_training_had_it(model: str, tiny: dict[str, Any]) -> None:
    run = train(model, tiny, **RELABEL_ALL)
    assert len(run.data.model_dataset.inter_feat) > len(run.train.inter_feat)
    assert_alike(run)


def test_averaged_weights_are_what_is_loaded(tiny: dict[str, Any]) -> None:
    assert_alike(train("BPR", tiny, epochs=2, dtlns_average_weights=0.9))


def test_what_a_sampler_learnt_is_no_part_of_the_model(tiny: dict[str, Any]) -> None:
    assert_alike(train("LightGCN", tiny, dtlns_sampler="dens"))


class Opposite(BPR):
    """Somebody's model that inherits the vectors and scores otherwise."""

    def predict(self, interaction: Any) -> torch.Tensor:
        return -super().predict(interaction)

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        return -super().full_sort_predict(interaction)


class ByFeature(BPR):
    """Somebody's model that reads an item feature, and knows no full ranking."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.of_colour = torch.nn.Embedding(dataset.num("colour"), 1)
        self.register_buffer("colour", dataset.get_item_feature()["colour"])

    def predict(self, interaction: Any) -> torch.Tensor:
        assert torch.equal(self.colour[interaction["item_id"]], interaction["colour"])
        return super().predict(interaction) + self.of_colour(interaction["colour"])[:, 0]

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        raise NotImplementedError


def test_a_subclass_that_scores_otherwise_has_no_vectors(tiny: dict[str, Any]) -> None:
    run = train(f"{__name__}:Opposite", tiny, **PLAIN)
    assert_alike(run)
    with pytest.raises(UnsupportedModelError, match="predicts otherwise than the model"):
        _ = load_run(run.folder).vectors


def test_features_of_items_are_kept(tiny: dict[str, Any]) -> None:
    items = {line.split("\t")[1] for line in Path("data/tiny/tiny.train.inter").read_text().splitlines()[1:]}
    rows = [f"{item}\t{'red' if len(item) % 2 else 'grün'}" for item in sorted(items)]
    Path("data/tiny/tiny.item").write_text("\n".join(["item_id:token\tcolour:token", *rows, ""]))
    load_col = {"inter": ["user_id", "item_id"], "item": ["item_id", "colour"]}
    run = train(f"{__name__}:ByFeature", {**tiny, "load_col": load_col}, **PLAIN)
    rankings = run.trainer.rank(run.data.test_loader, K)
    users = run.train.id2token("user_id", rankings.users)
    shutil.rmtree("data")
    assert (load_run(run.folder).recommend(users, K, "evaluation").scores == rankings.scores).all()


@pytest.fixture
def run(tiny: dict[str, Any]) -> Run:
    return train("LightGCN", tiny, **PLAIN)


def test_a_folder_that_was_moved_needs_neither_data_nor_cache_and_is_not_written_to(run: Run) -> None:
    expected = load_run(run.folder).recommend(run.train.field2id_token["user_id"][1:3], K)
    shutil.move(run.folder, "elsewhere")
    for gone in ("data", "saved", "cache", "log"):
        shutil.rmtree(gone, ignore_errors=True)
    before = sorted(path for path in Path().rglob("*"))
    found = load_run("elsewhere").recommend(expected.users, K)
    assert (found.items == expected.items).all() and (found.scores == expected.scores).all()
    assert sorted(path for path in Path().rglob("*")) == before


def test_loading_leaves_the_process_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    load_run(run.folder)
    assert not torch.backends.cudnn.deterministic
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_settings_and_metrics_are_those_of_the_run(run: Run) -> None:
    found = load_run(run.folder)
    assert found.metrics == {"valid": run.result["best_valid_result"], "test": run.result["test_result"]}
    assert found.config["embedding_size"] == 16 and found.config["dtlns_preset"] == "off"
    assert not found.leaking and not found.model.training


def tokens(run: Run, part: int) -> set[tuple[str, str]]:
    """The pairs of one part of the data, by token."""
    dataset = (run.data.train_loader, run.data.valid_loader, run.data.test_loader)[part]._dataset
    names = dataset.field2id_token
    return {(names["user_id"][user], names["item_id"][item]) for user, item in observed(dataset)}


def test_observed_is_all_that_the_data_hold_and_evaluation_leaves_test_in(run: Run) -> None:
    found = load_run(run.folder)
    parts = [tokens(run, part) for part in range(3)]

    def shown(exclude: Any) -> set[tuple[str, str]]:
        every = found.recommend(found.users, len(found.items), exclude)
        return {(user, item) for user, best in every for item, _ in best}

    everything = {(user, item) for user in found.users for item in found.items}
    assert shown(None) == everything
    assert shown("observed") == everything - parts[0] - parts[1] - parts[2]
    assert shown("evaluation") == everything - parts[0] - parts[1]
    user, item = found.users[0], found.items[0]
    assert shown({user: [item, "nobody's"], "nobody": [item]}) == everything - {(user, item)}
    assert shown({user: item}) == everything - {(user, item)}, "a string stands for itself"
    assert shown([item]) == {pair for pair in everything if pair[1] != item}
    mine = {item for parted in parts for whose, item in parted if whose == user}
    assert set(found.history(user)) == mine


def test_an_item_met_again_in_test_is_evaluated_and_observed(tiny: dict[str, Any]) -> None:
    train_file, test_file = (Path(f"data/tiny/tiny.{part}.inter") for part in ("train", "test"))
    again = train_file.read_text().splitlines()[1:9]
    test_file.write_text("\n".join([*test_file.read_text().splitlines(), *again, ""]))
    run = train("BPR", tiny, **PLAIN)
    assert_alike(run)
    found, (user, item) = load_run(run.folder), again[0].split("\t")
    assert item in found.history(user)
    shown = {name for name, _ in next(iter(found.recommend(user, len(found.items), "evaluation")))[1]}
    assert item in shown


def test_with_repeatable_items_evaluation_leaves_nothing_out(tiny: dict[str, Any]) -> None:
    assert_alike(train("BPR", tiny, **PLAIN, repeatable=True))


def test_hidden_train_pairs_are_observed_and_evaluated(tiny: dict[str, Any]) -> None:
    whole = tokens(train("BPR", tiny, **PLAIN), 0)
    run = train("BPR", tiny, **PLAIN, dtlns_hide_train=0.3)
    hidden = whole - tokens(run, 0)
    assert hidden
    assert_alike(run)
    found = load_run(run.folder)
    user = sorted(hidden)[0][0]
    assert {item for whose, item in hidden if whose == user} <= set(found.history(user))


def test_what_may_repeat_is_evaluated_on_unmasked_lists(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, **PLAIN, repeatable=True)
    assert_alike(run)
    found = load_run(run.folder)
    assert {len(best) for _, best in found.recommend(found.users, 10_000, "evaluation")} == {len(found.items)}


def test_candidates_are_the_only_items_and_the_best_of_them_come_first(run: Run) -> None:
    found = load_run(run.folder)
    some = found.items[::3].tolist()
    best = dict(found.recommend(found.users, len(found.items)))
    for user, items in found.recommend(found.users, 5, candidates=[*some, "unknown", some[0]]):
        expected = [(item, score) for item, score in best[user] if item in some][:5]
        assert [item for item, _ in items] == [item for item, _ in expected]
        np.testing.assert_allclose([score for _, score in items], [score for _, score in expected], rtol=1e-5)


@pytest.mark.parametrize("model", ["LightGCN", "EASE", "NeuMF"])
def test_scores_of_pairs_are_those_of_the_lists(model: str, tiny: dict[str, Any]) -> None:
    found = load_run(train(model, tiny, **PLAIN).folder)
    for user, best in found.recommend(found.users[:3], 4):
        items = [item for item, _ in best]
        np.testing.assert_allclose(found.score([user] * 4, items), [score for _, score in best], rtol=1e-4, atol=1e-6)


def test_a_list_is_as_long_as_there_are_items(run: Run) -> None:
    found = load_run(run.folder)
    (user, best), *_ = found.recommend([found.users[0]], 10_000)
    assert len(best) == len(found.items) - len(found.history(user))
    table = found.recommend([found.users[0]], 10_000).table()
    assert table["item_id"].tolist() == [item for item, _ in best]
    assert table["rank"].tolist() == list(range(1, len(best) + 1))


def test_one_user_is_a_list_of_one_and_no_user_gets_nothing(run: Run) -> None:
    found = load_run(run.folder)
    assert found.recommend(found.users[0], 3).items.shape == (1, 3)
    assert len(found.recommend([], 3)) == 0


def test_unknown_tokens_are_counted_and_the_first_ten_named(run: Run) -> None:
    found = load_run(run.folder)
    wrong = [f"nobody{number}" for number in range(12)]
    with pytest.raises(DataError, match=r"12 of the users asked for are unknown .*: nobody0, .*nobody9, \.\.\.$"):
        found.recommend([found.users[0], *wrong])
    with pytest.raises(DataError, match=r"1 of the items asked for is unknown to the model: \[PAD\]$"):
        found.score([found.users[0]], ["[PAD]"])
    near = found.users[0] + "x"
    with pytest.raises(DataError, match=rf"unknown to the model: {near}\. Did you mean '{found.users[0]}'\?$"):
        found.recommend([near])
    with pytest.raises(CheckpointError, match=r"its parent, .*, is the run folder"):
        load_run(found.folder / "best.pth")
    with pytest.raises(DataError, match="no candidate is an item"):
        found.recommend(found.users, candidates=["none"])
    with pytest.raises(DataError, match="2 users and 1 items"):
        found.score(found.users[:2], found.items[:1])
    with pytest.raises(ConfigError, match="exclude is 'seen'"):
        found.recommend(found.users, exclude="seen")
    for k in (2.0, True, "3", None):
        with pytest.raises(ConfigError, match=f"k is {k!r}: a whole number of items"):
            found.recommend(found.users[:1], k)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="k is 0"):
        found.recommend(found.users, 0)


@pytest.mark.parametrize("model", OF_PRODUCTS)
def test_products_of_the_vectors_order_items_as_recommend_does(model: str, tiny: dict[str, Any]) -> None:
    needs_faiss(model)
    found = load_run(train(model, tiny, **PLAIN, **SMALL.get(model, {})).folder)
    with pytest.raises(ValueError, match="read-only"):
        found.item_vectors[0] = 0
    products = found.user_vectors @ found.item_vectors.T
    best = found.recommend(found.users, K, exclude=None)
    place = {item: number for number, item in enumerate(found.items)}
    columns = np.array([[place[item] for item in row] for row in best.items])
    np.testing.assert_allclose(np.take_along_axis(products, columns, axis=1), best.scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(-np.sort(-products, axis=1)[:, :K], best.scores, rtol=1e-5, atol=1e-6)


def test_a_model_without_vectors_says_why(tiny: dict[str, Any]) -> None:
    found = load_run(train("NeuMF", tiny, **PLAIN).folder)
    with pytest.raises(UnsupportedModelError, match=r"NeuMF has no vectors .* scores by a network"):
        _ = found.user_vectors


def test_a_leaking_run_is_refused_unless_asked_for(tiny: dict[str, Any]) -> None:
    run = train("LightGCN", tiny, dtlns_preset="authors")
    with pytest.raises(CheckpointError, match="leaking protocol 'authors'"):
        load_run(run.folder)
    assert load_run(run.folder, allow_leaking=True).leaking


def test_a_run_without_its_data_says_what_is_missing(run: Run) -> None:
    """As runs of earlier versions are."""
    (run.folder / DATA).unlink()
    with pytest.raises(CheckpointError, match=f"holds no {DATA}.*Train again"):
        load_run(run.folder)


def test_a_folder_that_is_none_is_named(run: Run) -> None:
    with pytest.raises(CheckpointError, match="nowhere is no run folder"):
        load_run("nowhere")
    (run.folder / BEST).unlink()
    with pytest.raises(CheckpointError, match=f"holds no {BEST}"):
        load_run(run.folder)


@pytest.mark.parametrize("name", [DATA, BEST])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_damaged_files_are_named(run: Run, name: str, share: float) -> None:
    path = run.folder / name
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_run(run.folder)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=name):
        load_run(run.folder)


def test_files_of_another_version_are_named(run: Run) -> None:
    arrays, facts = load_arrays(run.folder / DATA)
    save_arrays(run.folder / DATA, arrays, {**facts, "format": 99, "version": "9.9"})
    with pytest.raises(CheckpointError, match=r"written by version 9\.9"):
        load_run(run.folder)


def test_files_of_two_runs_are_told_apart(run: Run, tiny: dict[str, Any]) -> None:
    path = Path("data/tiny/tiny.train.inter")
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows), ""]))
    other = train("LightGCN", tiny, **PLAIN)
    shutil.copy(other.folder / DATA, run.folder / DATA)
    with pytest.raises(CheckpointError, match="files of two runs"):
        load_run(run.folder)


def test_without_checkpoints_nothing_is_kept(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, saved=False, **PLAIN)
    assert not (run.folder / DATA).exists()


def test_tokens_of_any_script_come_back_as_they_were(tiny: dict[str, Any]) -> None:
    for path in Path("data/tiny").iterdir():
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([head, *(f"ü→{row.replace(chr(9), chr(9) + '🎬 ')}" for row in rows), ""]))
    found = load_run(train("BPR", tiny, **PLAIN).folder)
    user, best = next(iter(found.recommend(found.users[:1], 2)))
    assert user.startswith("ü→") and all(item.startswith("🎬 ") for item, _ in best)


def test_a_device_that_is_not_there_is_no_damage(run: Run) -> None:
    """Read for it, a whole checkpoint looks damaged, and the advice would be to delete it."""
    for device in ("nonsense", "cuda:77"):
        with pytest.raises(ConfigError, match=f"torch cannot use the device '{device}' here"):
            load_run(run.folder, device=device)


def test_one_item_of_a_user_is_left_out_as_a_list_of_one_is(run: Run) -> None:
    """The signs of a token are no items."""
    loaded = load_run(run.folder)
    user = loaded.users[0]
    ((_, best),) = loaded.recommend([user], 1, None)
    ((_, others),) = loaded.recommend([user], 1, {user: best[0][0]})
    assert others[0][0] != best[0][0]


def test_a_table_of_what_to_leave_out_is_refused(run: Run) -> None:
    """It would be taken for the names of its columns, which are no items, and nothing would be left out."""
    loaded = load_run(run.folder)
    with pytest.raises(ConfigError, match="exclude is a table"):
        loaded.recommend(loaded.users[:1], 1, pd.DataFrame({"user_id": loaded.users[:1], "item_id": loaded.items[:1]}))
