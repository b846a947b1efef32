"""Every context-aware recommender of RecBole: it trains with chosen negatives, or is refused with the reason."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import recbole.model.context_aware_recommender as zoo
import torch
from rated import RATED, SAMPLE, write_rated
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.loss import BPRLoss
from tiny_runs import PLAIN, all_or_sample, in_two_parts, same_tensors, train

from recbole_dtlns.bridge.models.context import CONTEXT, DECISION_TREES
from recbole_dtlns.bridge.models.ranking_loss import label_term
from recbole_dtlns.bridge.runner import run_recbole_dtlns
from recbole_dtlns.errors import UnsupportedModelError

MODELS = [name for name in CONTEXT if name not in DECISION_TREES]
BY_ID = ["rns", "popularity", "dns", "dns_mn", "ahns", "srns", "dtlns"]


def written(model: str, **shape: Any) -> dict[str, Any]:
    """The ratings; the tower of an item counts numbers that it does not read, so it gets them named."""
    return {**write_rated(**shape), "numerical_features": ["price"] if model in ("DSSM", "FFM") else []}


def test_the_table_names_every_model_of_the_zoo() -> None:
    found = set()
    for module in pkgutil.iter_modules(zoo.__path__):
        for name, member in vars(importlib.import_module(f"{zoo.__name__}.{module.name}")).items():
            own = inspect.isclass(member) and member.__module__ == f"{zoo.__name__}.{module.name}"
            if own and issubclass(member, ContextRecommender):
                found.add(name)
    trees = {path.stem for path in Path(zoo.__path__[0]).with_name("exlib_recommender").glob("[!_]*.py")}
    assert found == set(MODELS)
    assert trees == {name.lower() for name in DECISION_TREES}


@pytest.mark.parametrize("model", all_or_sample(MODELS, SAMPLE))
def test_every_model_trains_as_recbole_has_it_and_goes_on_exactly(model: str) -> None:
    """And its loss is one cross-entropy of labels, by which its rows are weighed."""
    settings = {**written(model), **PLAIN}
    _, resumed, whole = in_two_parts(model, settings, 1, 2, RATED)
    after, expected = (torch.load(one.folder / "last.pth", weights_only=True) for one in (resumed, whole))
    for part in ("epoch", "state_dict", "other_parameter", "optimizers", "random", "loader"):
        assert same_tensors(after[part], expected[part]), part
    assert label_term(whole.trainer.model) is not None
    assert not any(isinstance(module, BPRLoss) for module in whole.trainer.model.modules())


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("model", all_or_sample(MODELS, SAMPLE))
def test_the_choice_of_negatives_reaches_its_loss(model: str, labelled: bool) -> None:
    keys = written(model, labelled=labelled)
    chosen, uniform = (
        train(model, keys, dataset=RATED, dtlns_sampler=sampler, epochs=2) for sampler in ("dns", "recbole")
    )
    assert chosen.trainer.train_loss_dict != uniform.trainer.train_loss_dict
    assert all(math.isfinite(value) for value in chosen.result["test_result"].values())


@pytest.mark.matrix
@pytest.mark.parametrize("sampler", BY_ID)
@pytest.mark.parametrize("model", MODELS)
def test_every_sampler_by_id_trains_every_model(model: str, sampler: str) -> None:
    settings = {"dtlns_n_candidates": 4, "dtlns_dns_top": 2, "dtlns_srns_memory": 2, "dtlns_sampler": sampler}
    run = train(model, written(model), dataset=RATED, saved=False, **settings)
    assert math.isfinite(run.trainer.train_loss_dict[0])


def test_a_student_begins_with_its_teacher() -> None:
    """The later phases of knowledge distillation read the model that the first has left in a run folder."""
    keys = write_rated()
    first = train("KD_DAGFM", keys, dataset=RATED, phase="teacher_training")
    again = train("KD_DAGFM", keys, dataset=RATED, phase="distillation", warm_up=str(first.folder / "best.pth"))
    assert math.isfinite(again.trainer.train_loss_dict[0])


@pytest.mark.parametrize("model", DECISION_TREES)
@pytest.mark.parametrize("preset", ["clean", "off"])
def test_boosted_trees_are_refused_before_any_work(model: str, preset: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{model} cannot be trained here: it is made of boosted trees"):
        run_recbole_dtlns(model, "no-such-data", config_dict={"dtlns_preset": preset})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtlns_sampler": "mixgcf"}, "DeepFM takes no negatives that are vectors: it scores by features together"),
        ({"dtlns_method": "hnlmrec", "dtlns_hnlmrec_space": "teacher"}, "DeepFM takes no negatives that are vectors"),
        ({"dtlns_loss": "sampled_softmax"}, "needs one vector per user and item: DeepFM scores by features"),
        ({"dtlns_loss": "listwise"}, "For DeepFM, set dtlns_loss to model"),
        ({"dtlns_loss": "bpr"}, "DeepFM has no BPR term"),
        ({"dtlns_relabel_graph": True}, "dtlns_relabel_graph has no effect on it"),
    ],
)
def test_the_impossible_is_refused_before_any_work(settings: dict[str, Any], message: str) -> None:
    """The data set named does not even exist."""
    with pytest.raises(UnsupportedModelError, match=message):
        run_recbole_dtlns("DeepFM", "no-such-data", config_dict=settings)
