"""Every general recommender of RecBole: it trains with DTL-NS, or it is refused with the reason."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest
import recbole.model.general_recommender as zoo
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from tiny_runs import PLAIN, train

from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.glue.models import CAPABILITIES
from recbole_dtlns.glue.runner import run_recbole_dtlns

WITH_NEGATIVES = sorted(name for name, able in CAPABILITIES.items() if able.negatives)
GRAPH_ONLY = sorted(name for name, able in CAPABILITIES.items() if able.graph and not able.negatives)
WITHOUT_NEGATIVES = sorted(name for name, able in CAPABILITIES.items() if not able.negatives)

# What keeps an epoch short, and what a model cannot do without.
SMALL: dict[str, dict[str, Any]] = {
    "ConvNCF": {"cnn_channels": [1, 4, 4], "cnn_kernels": [4, 4], "cnn_strides": [4, 4], "embedding_size": 16},
    "DGCF": {"n_factors": 2, "n_iterations": 1, "n_layers": 1, "cor_weight": 0.01},
    "DMF": {"user_embedding_size": 8, "item_embedding_size": 8, "user_hidden_size_list": [8]}
    | {"item_hidden_size_list": [8]},
    "LDiffRec": {"n_cate": 1},
    "NCL": {"num_clusters": 2, "m_step": 1, "warm_up_step": 0},
    "NNCF": {"neigh_num": 5, "neigh_info_method": "random", "ui_embedding_size": 8, "mlp_hidden_size": [8]}
    | {"neigh_embedding_size": 4, "num_conv_kernel": 4, "conv_kernel_size": 2, "pool_kernel_size": 2},
    "RaCT": {"train_stage": "actor_pretrain", "pretrain_epochs": 1, "save_step": 1},
    "SpectralCF": {"n_layers": 1},
}


def test_the_table_names_every_model_of_the_zoo() -> None:
    found = set()
    for module in pkgutil.iter_modules(zoo.__path__):
        if module.name == "ncl":
            pytest.importorskip("faiss")
        for name, member in vars(importlib.import_module(f"{zoo.__name__}.{module.name}")).items():
            own = inspect.isclass(member) and member.__module__ == f"{zoo.__name__}.{module.name}"
            if own and issubclass(member, GeneralRecommender):
                found.add(name)
    assert found == set(CAPABILITIES)


@pytest.mark.parametrize("model", WITH_NEGATIVES)
def test_an_epoch_with_chosen_negatives(model: str, tiny: dict[str, Any]) -> None:
    """The model trains, its metrics are numbers, and the choice of negatives reaches its loss."""
    if model == "NCL":
        pytest.importorskip("faiss")
    settings = {**tiny, **SMALL.get(model, {})}
    graph = CAPABILITIES[model].graph
    run = train(model, settings, dtlns_relabel_graph=graph)
    assert all(0 <= value <= 1 for value in run.result["test_result"].values())
    uniform = train(model, settings, dtlns_relabel_graph=graph, dtlns_sampler="recbole")
    assert run.trainer.train_loss_dict[0] != uniform.trainer.train_loss_dict[0]


def state_of(model: torch.nn.Module, users: int) -> torch.Tensor:
    """What the model makes of its data: the scores of all users after training."""
    model.eval()
    torch.manual_seed(0)
    from recbole.data.interaction import Interaction

    with torch.no_grad():
        return torch.as_tensor(model.full_sort_predict(Interaction({"user_id": torch.arange(1, users)}))).float()


@pytest.mark.parametrize("model", GRAPH_ONLY)
def test_positives_reach_matrix_models_through_their_data(model: str, tiny: dict[str, Any]) -> None:
    settings = {**tiny, **PLAIN, **SMALL.get(model, {})}
    if model == "LDiffRec":
        pytest.importorskip("kmeans_pytorch", reason="LDiffRec imports it, whatever its settings")
    without = train(model, settings, saved=model != "RaCT")
    added = train(model, settings, saved=model != "RaCT", dtlns_relabel_graph=True, dtlns_relabel_top=0)
    assert len(added.data.model_dataset) > len(without.data.model_dataset)
    users = without.train.user_num
    assert not torch.equal(state_of(without.trainer.model, users), state_of(added.trainer.model, users))


@pytest.mark.parametrize("model", WITHOUT_NEGATIVES)
def test_the_impossible_is_refused_before_any_work(model: str) -> None:
    """The data set named does not even exist."""
    with pytest.raises(UnsupportedModelError, match=model):
        run_recbole_dtlns(model, "no-such-data")


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "ConvNCF"])
def test_a_graph_is_refused_where_there_is_none(model: str) -> None:
    with pytest.raises(UnsupportedModelError, match="dtlns_relabel_graph"):
        run_recbole_dtlns(model, "no-such-data", config_dict={"dtlns_relabel_graph": True})
