"""Every general recommender of RecBole: it trains with DTL-NS, or it is refused with the reason."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
from typing import Any

import pytest
import recbole.model.general_recommender as zoo
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import ModelType
from tiny_runs import PLAIN, QUICK, in_two_parts, same_tensors, train

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataloader import WEIGHT
from recbole_dtlns.bridge.data.run_data import plain_run_data
from recbole_dtlns.bridge.data.splits import load_splits
from recbole_dtlns.bridge.models.capabilities import resolve_model
from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.bridge.runner import run_recbole_dtlns
from recbole_dtlns.bridge.training.training_step import TrainingStep
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import UnsupportedModelError

WITH_NEGATIVES = sorted(name for name, able in GENERAL.items() if able.negatives)
GRAPH_ONLY = sorted(name for name, able in GENERAL.items() if able.graph and not able.negatives)
WITHOUT_NEGATIVES = sorted(name for name, able in GENERAL.items() if not able.negatives)
CLOSED_FORM = [name for name in GENERAL if resolve_model(name).type == ModelType.TRADITIONAL]

# Slow ones, of whose training nothing is kept beside the weights and one optimizer, as of others that every run takes.
LIKE_OTHERS = ("ConvNCF", "DGCF", "DMF", "FISM", "GCMC", "NAIS", "NGCF", "NNCF", "SimpleX", "SpectralCF")

# What keeps an epoch short, and what a model cannot do without.
SMALL: dict[str, dict[str, Any]] = {
    "ConvNCF": {"cnn_channels": [1, 4, 4], "cnn_kernels": [4, 4], "cnn_strides": [4, 4], "embedding_size": 16},
    "DGCF": {"n_factors": 2, "n_iterations": 1, "n_layers": 1, "cor_weight": 0.01},
    "DMF": {"user_embedding_size": 8, "item_embedding_size": 8, "user_hidden_size_list": [8]}
    | {"item_hidden_size_list": [8]},
    "NCL": {"num_clusters": 2, "m_step": 1, "warm_up_step": 0},
    "NNCF": {"neigh_num": 5, "neigh_info_method": "random", "ui_embedding_size": 8, "mlp_hidden_size": [8]}
    | {"neigh_embedding_size": 4, "num_conv_kernel": 4, "conv_kernel_size": 2, "pool_kernel_size": 2},
    "RecVAE": {"hidden_dimension": 16, "latent_dimension": 8, "n_enc_epochs": 1},
    "RaCT": {"pretrain_epochs": 1, "save_step": 1},
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
    assert found == set(GENERAL)


class Watched:
    """A data set that tells whether somebody reads its interactions."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.interactions_read = False

    def __getattr__(self, name: str) -> Any:
        if name in ("inter_feat", "inter_matrix", "ckg_graph", "history_item_matrix", "history_user_matrix"):
            self.interactions_read = True
        return getattr(self._dataset, name)


@pytest.fixture
def untrained(model: str, tiny: dict[str, Any]) -> tuple[torch.nn.Module, Watched, Any]:
    """The model as its constructor leaves it, the data set that it was given, and RecBole's training loader for it."""
    config = DTLNSConfig(model, "tiny", config_dict={**QUICK, **tiny, **PLAIN, **SMALL.get(model, {})})
    data = plain_run_data(config, *load_splits(config))
    dataset = Watched(data.model_dataset)
    with quiet_recbole():
        return config.model_class(config, dataset), dataset, data.train_loader


@pytest.mark.parametrize("model", GENERAL)
def test_the_table_is_right_about_who_reads_interactions(model: str, untrained: Any) -> None:
    """`graph` promises that `dtlns_relabel_graph` reaches the model; where it is False it could not."""
    _, dataset, _ = untrained
    assert dataset.interactions_read == GENERAL[model].graph


@pytest.mark.parametrize("model", [name for name in GENERAL if name != "Pop"])  # Pop counts them, hence refused
def test_the_table_is_right_about_who_reads_negatives(model: str, untrained: Any) -> None:
    """Another negative gives another loss where `negatives` is True, and the same one where it is False."""
    network, _, loader = untrained
    batch = next(iter(loader))
    column = "neg_item_id" if "neg_item_id" in batch else "item_id"
    if column not in batch:
        assert not GENERAL[model].negatives, "the loader gives users only"
        return

    def loss_with(negative: int) -> list[float]:
        changed = Interaction({field: values.clone() for field, values in batch.interaction.items()})
        changed[column][len(batch) // 2 :] = negative  # of pointwise rows, the second half are the negatives
        random.seed(1)  # LINE draws whether a step has negative items
        torch.manual_seed(0)
        losses = network.calculate_loss(changed)
        return [float(loss.detach()) for loss in (losses if isinstance(losses, tuple) else (losses,))]

    with quiet_recbole():
        network.train()  # SGL draws its graphs here
        getattr(network, "e_step", lambda: None)()  # NCL: its trainer clusters before an epoch
        assert (loss_with(1) != loss_with(2)) == GENERAL[model].negatives


@pytest.mark.parametrize("model", WITH_NEGATIVES)
def test_an_epoch_with_chosen_negatives(model: str, tiny: dict[str, Any]) -> None:
    """The model trains, its metrics are numbers, and the choice of negatives reaches its loss."""
    if model == "NCL":
        pytest.importorskip("faiss")
    settings = {**tiny, **SMALL.get(model, {})}
    graph = GENERAL[model].graph
    run = train(model, settings, dtlns_relabel_graph=graph)
    assert all(0 <= value <= 1 for value in run.result["test_result"].values())
    uniform = train(model, settings, dtlns_relabel_graph=graph, dtlns_sampler="recbole")
    assert run.trainer.train_loss_dict[0] != uniform.trainer.train_loss_dict[0]


def state_of(model: torch.nn.Module, users: int) -> torch.Tensor:
    """What the model makes of its data: the scores of all users after training."""
    model.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        return torch.as_tensor(model.full_sort_predict(Interaction({"user_id": torch.arange(1, users)}))).float()


@pytest.mark.parametrize("model", GRAPH_ONLY)
def test_positives_reach_matrix_models_through_their_data(model: str, tiny: dict[str, Any]) -> None:
    settings = {**tiny, **PLAIN, **SMALL.get(model, {})}
    without = train(model, settings)
    added = train(model, settings, dtlns_relabel_graph=True, dtlns_relabel_top=0)
    assert len(added.data.model_dataset) > len(without.data.model_dataset)
    users = without.train.user_num
    assert not torch.equal(state_of(without.trainer.model, users), state_of(added.trainer.model, users))


@pytest.mark.parametrize("model", WITH_NEGATIVES)
def test_a_batch_with_a_single_added_row(model: str, tiny: dict[str, Any]) -> None:
    """Rows are grouped by weight, so a model may be given one row; its loss must be one number like any other."""
    run = train(model, {**tiny, **SMALL.get(model, {})}, dtlns_relabel_weight=0.5)
    loader = run.data.train_loader
    rows = [0, 1, 2, 3, len(loader._rows) - 1]  # added rows come last
    batch = loader.collate_fn(rows)
    assert sorted(set(batch[WEIGHT].tolist())) == [0.5, 1.0]
    step = TrainingStep(run.trainer.model.train(), loader, run.trainer.sampling, run.trainer.model.calculate_loss)
    with quiet_recbole():
        losses = step(batch)
    total = sum(losses) if isinstance(losses, tuple) else losses
    assert total.numel() == 1 and torch.isfinite(total)
    total.backward()


@pytest.mark.parametrize("model", WITH_NEGATIVES)
def test_the_table_says_whose_loss_is_a_sum_over_rows(model: str, tiny: dict[str, Any]) -> None:
    """The same rows twice: a sum doubles, a mean does not change."""
    fixed = {
        "reg_weight": 0.0,
        "reg_weights": [0.0] * (3 if model == "NAIS" else 2),
        "ssl_weight": 0.0,
        "cor_weight": 0.0,
        "proto_reg": 0.0,
    }
    fixed |= {"dropout_prob": 0.0, "dropout": 0.0, "message_dropout": 0.0, "node_dropout": 0.0}
    run = train(model, {**tiny, **SMALL.get(model, {}), **fixed}, dtlns_relabel_add=False)
    batch, network = next(iter(run.data.train_loader)), run.trainer.model.eval()

    def loss(times: int) -> float:
        repeated = {field: torch.cat([values] * times) for field, values in batch.interaction.items()}
        random.seed(0)  # LINE's order
        torch.manual_seed(0)
        with torch.no_grad(), quiet_recbole():
            found = network.calculate_loss(Interaction(repeated))
        return float(sum(found) if isinstance(found, tuple) else found)

    assert loss(2) / loss(1) == pytest.approx(2.0 if GENERAL[model].sums_rows else 1.0, rel=0.02)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=pytest.mark.matrix) if name in LIKE_OTHERS else name
        for name in GENERAL
        if name not in ("Pop", "Random")
    ],
)
def test_two_and_two_epochs_equal_four(model: str, tiny: dict[str, Any]) -> None:
    """Annealing steps, second optimizers, shuffled lists: what RecBole's own checkpoints forget."""
    preset = {} if GENERAL[model].negatives else PLAIN
    settings = {**tiny, **SMALL.get(model, {}), **preset}
    epochs = "pretrain_epochs" if model == "RaCT" else "epochs"
    runs = in_two_parts(model, settings, 2, 4, epochs=epochs)
    # Pretraining is not evaluated on the way, and a closed form has no second epoch.
    name = "best.pth" if model == "RaCT" or model in CLOSED_FORM else "last.pth"
    before, after, expected = (torch.load(run.folder / name, weights_only=True) for run in runs)
    for part in ("epoch", "state_dict", "other_parameter", "optimizers", "random", "loader", "best_valid_result"):
        assert same_tensors(after[part], expected[part]), part
    assert model in CLOSED_FORM or before["epoch"] < expected["epoch"]


@pytest.mark.parametrize("model", ["Pop", "Random"])
def test_models_that_learn_nothing_are_refused_in_every_form(model: str) -> None:
    for settings in ({"dtlns_preset": "clean"}, {**PLAIN, "dtlns_relabel_graph": True}):
        with pytest.raises(UnsupportedModelError, match=f"cannot help {model}.*--dtlns_preset=off"):
            run_recbole_dtlns(model, "no-such-data", config_dict=settings)


@pytest.mark.parametrize("model", WITHOUT_NEGATIVES)
def test_the_impossible_is_refused_before_any_work(model: str) -> None:
    """The data set named does not even exist."""
    with pytest.raises(UnsupportedModelError, match=model):
        run_recbole_dtlns(model, "no-such-data")


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "ConvNCF"])
def test_a_graph_is_refused_where_there_is_none(model: str) -> None:
    with pytest.raises(UnsupportedModelError, match="dtlns_relabel_graph"):
        run_recbole_dtlns(model, "no-such-data", config_dict={"dtlns_relabel_graph": True})
