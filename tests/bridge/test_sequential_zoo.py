"""Every sequential recommender of RecBole: it trains in each of its forms, or is refused with the reason."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest
import recbole.model.sequential_recommender as zoo
import torch
from ordered import SAMPLE, SEQUENCES, write_walks
from recbole.model.abstract_recommender import SequentialRecommender
from tiny_runs import PLAIN, all_or_sample, in_two_parts, same_tensors, train

from recbole_dtlns.bridge.models.capability import PAIRWISE, SOFTMAX
from recbole_dtlns.bridge.models.sequential import SEQUENTIAL
from recbole_dtlns.bridge.runner import run_recbole_dtlns
from recbole_dtlns.errors import ConfigError, UnsupportedModelError

FROM_ELSEWHERE = ("GRU4RecKG", "KSR")  # read vectors of a knowledge graph
MODELS = [name for name in SEQUENTIAL if name not in FROM_ELSEWHERE]
OF_BOTH_FORMS = [name for name in MODELS if SEQUENTIAL[name].forms == (SOFTMAX, PAIRWISE) and name != "S3Rec"]
SOFTMAXES = [name for name in MODELS if SOFTMAX in SEQUENTIAL[name].forms and name != "S3Rec"]
PAIRWISES = [name for name in MODELS if PAIRWISE in SEQUENTIAL[name].forms and name != "S3Rec"]
SMALL: dict[str, dict[str, Any]] = {
    "DIEN": {"valid_metric": "AUC"},
    "DIN": {"valid_metric": "AUC"},
    "FEARec": {"n_layers": 2},
    "GRU4RecCPR": {"reranker_CAN_NUM": "5"},
    "S3Rec": {"pretrain_epochs": 1, "save_step": 1},
    "SASRecCPR": {"reranker_CAN_NUM": "5"},
}


@pytest.fixture
def keys(model: str) -> dict[str, Any]:
    """The walks with features of items, and what keeps a model small."""
    return {**write_walks(features=True), **SMALL.get(model, {})}


def test_the_table_names_every_model_of_the_zoo() -> None:
    found = set()
    for module in pkgutil.iter_modules(zoo.__path__):
        for name, member in vars(importlib.import_module(f"{zoo.__name__}.{module.name}")).items():
            own = inspect.isclass(member) and member.__module__ == f"{zoo.__name__}.{module.name}"
            if own and issubclass(member, SequentialRecommender):
                found.add(name)
    assert found == set(SEQUENTIAL)


@pytest.mark.parametrize("model", all_or_sample(MODELS, SAMPLE))
def test_every_model_trains_as_recbole_has_it_and_goes_on_exactly(model: str, keys: dict[str, Any]) -> None:
    epochs = "pretrain_epochs" if model == "S3Rec" else "epochs"
    settings = {**keys, **PLAIN}
    _, *runs = in_two_parts(model, settings, 1, 2, SEQUENCES, epochs)
    name = "best.pth" if model == "S3Rec" else "last.pth"
    after, expected = (torch.load(one.folder / name, weights_only=True) for one in runs)
    for part in ("epoch", "state_dict", "other_parameter", "optimizers", "random"):
        assert same_tensors(after[part], expected[part]), part


@pytest.mark.parametrize("model", all_or_sample(SOFTMAXES, SAMPLE))
def test_its_softmax_has_further_targets(model: str, keys: dict[str, Any]) -> None:
    """And without any of them, and nothing forbidden, it is RecBole's own up to rounding."""
    fixed = {**keys, "dtlns_relabel_exclude": False, "shuffle": False}
    plain, added = (train(model, {**fixed, **one}, dataset=SEQUENCES) for one in (PLAIN, {}))
    assert added.trainer.train_loss_dict[0] > plain.trainer.train_loss_dict[0]
    nothing = train(model, {**fixed, "dtlns_judge": "never"}, dataset=SEQUENCES)
    if model not in ("FEARec", "SINE"):  # whose batches draw more than the loss reads
        assert nothing.trainer.train_loss_dict[0] == pytest.approx(plain.trainer.train_loss_dict[0], rel=1e-4)


@pytest.mark.parametrize("model", all_or_sample([*PAIRWISES, "DIN", "DIEN"], SAMPLE))
def test_the_choice_of_negatives_reaches_its_loss(model: str, keys: dict[str, Any]) -> None:
    settings = {**keys, **({} if model in ("DIN", "DIEN", "TransRec") else {"loss_type": "BPR"})}
    chosen, uniform = (
        train(model, settings, dataset=SEQUENCES, dtlns_sampler=sampler) for sampler in ("dns", "recbole")
    )
    assert chosen.trainer.train_loss_dict[0] > uniform.trainer.train_loss_dict[0], "hard negatives cost more"


@pytest.mark.parametrize("model", OF_BOTH_FORMS)
def test_losses_of_this_package_take_the_place_of_its_own(model: str, keys: dict[str, Any]) -> None:
    """That the table names the right vectors of items is compared with the model's scores in the first batch."""
    run = train(model, keys, dataset=SEQUENCES, dtlns_loss="gbce", dtlns_loss_shared=16)
    assert run.config["loss_type"] == PAIRWISE
    assert all(0 <= value <= 1 for value in run.result["test_result"].values())


@pytest.mark.parametrize("model", [name for name in SEQUENTIAL if SEQUENTIAL[name].sequence_items is None])
def test_the_impossible_is_refused_before_any_work(model: str) -> None:
    """The data set named does not even exist."""
    with pytest.raises(UnsupportedModelError, match=model):
        run_recbole_dtlns(model, "no-such-data", config_dict={"dtlns_loss": "gbce", "valid_metric": "AUC"})


@pytest.mark.parametrize("model", ["GRU4RecCPR", "SASRecCPR"])
def test_a_shortlist_longer_than_the_catalogue_is_refused(model: str) -> None:
    """Torch would stop in the first batch: "selected index k out of range"."""
    keys = {**write_walks(), **PLAIN}
    with pytest.raises(ConfigError, match=r"best 100 items again \(reranker_CAN_NUM: 100\), and .* 24 items: set"):
        train(model, keys, dataset=SEQUENCES)


@pytest.mark.parametrize("model", ["BERT4Rec", "GRU4RecCPR", "RepeatNet", "SASRecCPR"])
def test_what_has_a_loss_of_its_own_is_refused_with_the_way_out(model: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"cannot help {model}: it .*--dtlns_preset=off"):
        run_recbole_dtlns(model, "no-such-data")


def test_pretraining_is_refused_and_the_stage_after_it_is_taught() -> None:
    keys = {**write_walks(features=True), **SMALL["S3Rec"]}
    with pytest.raises(UnsupportedModelError, match="while train_stage is pretrain: set it to finetune"):
        train("S3Rec", keys, dataset=SEQUENCES)
    first = train("S3Rec", {**keys, **PLAIN}, dataset=SEQUENCES)
    settings = {**keys, "train_stage": "finetune", "pre_model_path": str(first.folder / "best.pth")}
    for form in (SOFTMAX, PAIRWISE):
        run = train("S3Rec", settings, dataset=SEQUENCES, loss_type=form)
        assert run.result["best_valid_score"] > 0
