"""Losses over K negatives in place of a model's BPR term, and negatives that are vectors, against written formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.general_recommender import LightGCN
from recbole.model.loss import EmbLoss
from test_training_step import TWO_NEGATIVES
from tiny_runs import Run, observed, train

from recbole_dtlns.bridge.data.dataloader import WEIGHT
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.models.capabilities import resolve_model
from recbole_dtlns.bridge.models.ranking_loss import Objective
from recbole_dtlns.bridge.training.training_step import TrainingStep
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.losses.row_losses import BPR
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerNegatives, VectorSampler
from recbole_dtlns.training.sparse_products import FastSparseProducts

NO_RELABELLING = {"dtlns_relabel_add": False, "dtlns_relabel_exclude": False}
LAYERED = {"BPR": {}, "LightGCN": {"n_layers": 2}, "NGCF": {"hidden_size_list": [8, 4], "message_dropout": 0.0}}
LAYERED |= {"SpectralCF": {"n_layers": 1}, "SGL": {"n_layers": 2}}
LAYERED |= {"NCL": {"n_layers": 2, "num_clusters": 2, "m_step": 1, "warm_up_step": 0, "ssl_temp": 1.0}}
LAYERED |= {"DGCF": {"n_factors": 2, "n_iterations": 1, "n_layers": 1, "cor_weight": 0.0}}


def embeddings(model: AbstractRecommender) -> tuple[torch.Tensor, torch.Tensor]:
    if type(model).__name__ == "BPR":
        return model.user_embedding.weight, model.item_embedding.weight
    return model.forward()


def step_of(run: Run) -> TrainingStep:
    return TrainingStep(
        run.trainer.model, run.data.train_loader, run.trainer.sampling, run.trainer.model.calculate_loss
    )


@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
@pytest.mark.parametrize("loss", ["bpr", "sum_exp", "softmax"])
@pytest.mark.parametrize("debiased", [False, True], ids=["", "debiased"])
def test_losses_over_two_negatives_by_hand(loss: str, model: str, debiased: bool, tiny: dict[str, Any]) -> None:
    """Rows weigh 1 or w, negatives 1 - P(false negative), and the regularisation stays the model's own."""
    keys = {"dtlns_relabel_weight": 0.25, "dtlns_relabel_exclude": False, "dtlns_judge": "calibrated"}
    run = train(
        model,
        {**tiny, **TWO_NEGATIVES, **keys},
        dtlns_loss=loss,
        dtlns_loss_temperature=0.5,
        dtlns_loss_debiased=debiased,
        dtlns_sampler="rns",
        learning_rate=0.05,
        reg_weight=0.1,
    )
    network, loader = run.trainer.model, run.data.train_loader
    batch = next(iter(loader))
    n = len(batch) // 2
    users, positives, negatives = (batch[field].view(2, n) for field in ("user_id", "item_id", "neg_item_id"))
    probability = {}
    if debiased:
        assert run.preparation is not None
        judged = to_recbole_ids(run.preparation.judged, run.preparation.train, run.train)
        probability = dict(zip(zip(judged.users, judged.items, strict=True), judged.probability, strict=True))
        drawn = set(zip(users.flatten().tolist(), negatives.flatten().tolist(), strict=True))
        assert any(probability.get(pair, 0) > 0.01 for pair in drawn), "some negative is doubtful"
    with torch.no_grad():
        user_table, item_table = embeddings(network)
        expected = 0.0
        for row in range(n):
            u = user_table[users[0, row]]
            temperature = 0.5 if loss == "softmax" else 1.0
            s_p = float(u @ item_table[positives[0, row]]) / temperature
            terms = []
            for k in range(2):
                weight = 1 - probability.get((int(users[0, row]), int(negatives[k, row])), 0.0)
                terms.append((weight, float(u @ item_table[negatives[k, row]]) / temperature - s_p))
            if loss == "bpr":
                value = sum(weight * np.log1p(np.exp(difference)) for weight, difference in terms) / 2
            else:
                value = np.log1p(sum(weight * np.exp(difference) for weight, difference in terms))
            expected += float(batch[WEIGHT][row]) * value / n
        if model == "LightGCN":
            ego = (network.user_embedding(batch["user_id"]), network.item_embedding(batch["item_id"]))
            expected += 0.1 * float(EmbLoss()(*ego, network.item_embedding(batch["neg_item_id"])))
        assert float(step_of(run)(batch)) == pytest.approx(expected, rel=1e-4)


def test_bpr_in_place_of_the_models_own_trains_the_same(tiny: dict[str, Any]) -> None:
    """Up to RecBole's 1e-10 inside the logarithm, and rounding."""
    own, ours = (
        train("LightGCN", {**tiny, **NO_RELABELLING}, dtlns_sampler="dns", epochs=2, dtlns_loss=loss).trainer.model
        for loss in ("model", "bpr")
    )
    for name, weight in own.state_dict().items():
        assert torch.allclose(weight, ours.state_dict()[name], atol=1e-4), name


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "NGCF", "SpectralCF", "DGCF", "NCL"])
def test_weights_are_of_the_ranking_loss_alone(model: str, tiny: dict[str, Any]) -> None:
    """Be the BPR term the model's own or ours: regularisation and contrast are those of rows without weights."""
    run = train(
        model, {**tiny, **LAYERED[model]}, dtlns_relabel_weight=0.25, dtlns_sampler="rns", reg_weight=0.1, epochs=2
    )
    batch, losses = next(iter(run.data.train_loader)), {}
    assert sorted(batch[WEIGHT].unique().tolist()) == [0.25, 1.0]
    for loss in ("model", "bpr"):
        given = type(batch)({field: values.clone() for field, values in batch.interaction.items()})
        sampling = replace(run.trainer.sampling, objective=None if loss == "model" else Objective(BPR()))
        network = run.trainer.model.train()
        torch.manual_seed(0)
        found = TrainingStep(network, run.data.train_loader, sampling, network.calculate_loss)(given)
        losses[loss] = (sum(found) if isinstance(found, tuple) else found).item()
    assert losses["model"] == pytest.approx(losses["bpr"], rel=1e-5)


@pytest.mark.parametrize(("model", "loss"), [("BPR", "bpr"), ("NeuMF", "model"), ("SGL", "model")])
def test_auto_is_bpr_where_the_model_has_such_a_term(model: str, loss: str, tiny: dict[str, Any]) -> None:
    keys = {"dtlns_preset": "rows", "dtlns_n_candidates": 3, "epochs": 2}
    auto, named = train(model, tiny, **keys), train(model, tiny, **keys, dtlns_loss=loss)
    assert auto.config.settings.loss == "auto"
    assert auto.result["test_result"] == named.result["test_result"]
    assert (auto.trainer.sampling.objective is None) == (loss == "model")


@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
@pytest.mark.parametrize("sampler", ["rns", "popularity"])
def test_a_sampled_softmax_nears_the_full_one(model: str, sampler: str, tiny: dict[str, Any]) -> None:
    """With many draws: the cross-entropy over the positive and all items that the user has not, whatever the draws'
    distribution."""
    run = train(
        model,
        {**tiny, **NO_RELABELLING},
        dtlns_sampler=sampler,
        dtlns_loss="sampled_softmax",
        dtlns_loss_shared=400_000,
        dtlns_loss_temperature=0.5,
        learning_rate=0.05,
        reg_weight=0.0,
    )
    network, batch = run.trainer.model, next(iter(run.data.train_loader))
    seen = observed(run.train)
    with torch.no_grad():
        user_table, item_table = embeddings(network)
        scores = (user_table[batch["user_id"]] @ item_table.T) / 0.5
        values = []
        for row, (user, positive) in enumerate(zip(batch["user_id"].tolist(), batch["item_id"].tolist(), strict=True)):
            kept = [positive, *(item for item in range(1, run.train.item_num) if (user, item) not in seen)]
            values.append(float(scores[row, kept].logsumexp(0) - scores[row, positive]))
        assert float(step_of(run)(batch)) == pytest.approx(np.mean(values), rel=2e-3)


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("NeuMF", {"dtlns_loss": "bpr"}, "NeuMF has no BPR term that dtlns_loss: bpr could take the place of"),
        ("SGL", {"dtlns_loss": "sum_exp"}, "SGL has no BPR term"),
        ("DMF", {"dtlns_loss": "sampled_softmax", "dtlns_sampler": "rns"}, "needs one vector per user and item: DMF"),
        ("NeuMF", {"dtlns_mixing": True}, "NeuMF takes no negatives that are vectors: it scores by a network"),
        ("EASE", {"dtlns_sampler": "mixgcf"}, "EASE takes neither negatives"),
    ],
)
def test_impossible_pairs_are_refused_with_the_reason(
    model: str, keys: dict[str, Any], message: str, tiny: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        train(model, tiny, **keys)


class Remembers(VectorSampler):
    """Keeps what another sampler made."""

    def __init__(self, inner: VectorSampler) -> None:
        super().__init__()
        self.inner = inner

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        self.choice, self.made = choice, self.inner.negatives(choice)
        return self.made


@pytest.mark.parametrize("model", LAYERED)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_the_models_own_loss_takes_negatives_that_are_vectors(model: str, weighted: bool, tiny: dict[str, Any]) -> None:
    """Given the vectors of real items, loss and gradients are those of the items' ids: nothing else is changed."""
    keys = {} if weighted else NO_RELABELLING
    run = train(model, {**tiny, **LAYERED[model], **keys}, dtlns_sampler="mixgcf", reg_weight=0.1)
    network, loader = run.trainer.model, run.data.train_loader
    batch = next(iter(loader))
    by_id = type(batch)({field: values.clone() for field, values in batch.interaction.items()})

    class RealItems(VectorSampler):
        """The drawn item itself, in every layer."""

        def negatives(self, choice: LayerChoice) -> LayerNegatives:
            items = choice.candidates[:, 0]
            return LayerNegatives([table[items] for table in choice.item_layers], items[:, None])

    def gradients(step: TrainingStep, batch: Any) -> tuple[float, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        network.zero_grad()
        loss = step(batch)
        total = sum(loss) if isinstance(loss, tuple) else loss
        total.backward()
        return total.item(), {name: weight.grad.clone() for name, weight in network.named_parameters()}

    vectors = step_of(run)
    vectors.sampler = RealItems()
    ids = step_of(run)
    ids.sampler = None
    found, expected = gradients(vectors, batch), gradients(ids, by_id)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for name, gradient in expected[1].items():
        assert torch.allclose(found[1][name], gradient, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("model", LAYERED)
def test_mixed_negatives_reach_the_loss(model: str, tiny: dict[str, Any]) -> None:
    """The loss of the step is the model's ranking loss on the mixed vectors plus its regularisation of them."""
    run = train(
        model, {**tiny, **LAYERED[model], **NO_RELABELLING}, dtlns_sampler="mixgcf", reg_weight=0.0, ssl_weight=0.0
    )
    network, batch = run.trainer.model, next(iter(run.data.train_loader))
    step = step_of(run)
    step.sampler = remembers = Remembers(step.sampler)
    with torch.no_grad():
        losses = step(batch)
        loss = float(losses[0] if model == "NCL" else losses)  # of NCL the first is the ranking loss
        layers = remembers.made.layers
        made = torch.cat(layers, dim=1) if remembers.choice.join == "concat" else torch.stack(layers).mean(dim=0)
        users, items = embeddings(network)[:2] if model != "SGL" else network.forward(network.train_graph)
        u, p = users[batch["user_id"]], items[batch["item_id"]]
        by_row = torch.nn.functional.softplus((u * made).sum(dim=1) - (u * p).sum(dim=1))
        assert loss == pytest.approx(float(by_row.sum() if model == "SGL" else by_row.mean()), rel=1e-4)
        mixed = remembers.choice.mixing[:, :1] * remembers.choice.item_layers[0][batch["item_id"]]
        assert not torch.allclose(layers[0], mixed), "the candidate is part of it"


VECTORS = {"mixgcf": {"dtlns_sampler": "mixgcf"}, "dens": {"dtlns_sampler": "dens"}}
SOFTMAX = {"sampled softmax": {"dtlns_sampler": "rns", "dtlns_loss": "sampled_softmax"}}
READERS = {"LightGCN": VECTORS | SOFTMAX, "NGCF": VECTORS | SOFTMAX, "SGL": VECTORS}


@pytest.mark.parametrize(
    ("model", "keys"),
    [pytest.param(model, keys, id=f"{model}-{name}") for model, ways in READERS.items() for name, keys in ways.items()],
)
def test_layers_are_read_off_the_propagation_of_the_loss(
    model: str, keys: dict[str, Any], tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One propagation per step, with pseudo-positives of another weight too; SGL makes two more, of its views."""
    model_class = resolve_model(model)
    original, calls = model_class.forward, []

    def counted(self: torch.nn.Module, *graph: torch.Tensor) -> Any:
        calls.append(self.training)
        return original(self, *graph)

    monkeypatch.setattr(model_class, "forward", counted)
    run = train(model, {**tiny, "hidden_size_list": [16]}, **keys)
    assert sum(calls) == (3 if model == "SGL" else 1) * len(run.data.train_loader)


def test_a_model_that_joins_its_layers_otherwise_is_refused(tiny: dict[str, Any]) -> None:
    """Somebody's LightGCN with weights per layer inherits the table's entry, and is found out at the first step."""

    class Weighted(LightGCN):
        def forward(self) -> Any:
            users, items = super().forward()
            return 2 * users, 2 * items

    with pytest.raises(UnsupportedModelError, match=r"Weighted does not join its layers by their mean.*dns"):
        train(Weighted, tiny, dtlns_sampler="mixgcf")


@pytest.mark.parametrize("model", ["LightGCN", "NGCF", "SpectralCF", "SGL", "DGCF", "GCMC"])
def test_fast_products_give_the_same_loss_and_gradients(model: str, tiny: dict[str, Any]) -> None:
    """To 1e-5 relative, for every graph model that multiplies by a constant matrix."""
    settings = {**tiny, **LAYERED.get(model, {}), "dropout_prob": 0.0}
    run = train(model, settings, dtlns_fast=False, learning_rate=0.01)
    network, batch = run.trainer.model, next(iter(run.data.train_loader))

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        network.zero_grad()
        given = type(batch)({field: values.clone() for field, values in batch.interaction.items()})
        loss = network.calculate_loss(given)
        loss.backward()
        return [loss.detach(), *(weight.grad.clone() for weight in network.parameters() if weight.grad is not None)]

    expected = gradients()
    with FastSparseProducts() as products:
        gradients()  # matrices are converted when they are met again
        found = gradients()
        assert any(pair is not None for pair in products._converted.values()), "some product was made the fast way"
    assert len(found) == len(expected) > 1
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm()) + 1e-12


def test_the_switch_is_off_for_plain_recbole(tiny: dict[str, Any]) -> None:
    assert train("LightGCN", tiny, dtlns_preset="off").config.settings.fast is False
    assert train("LightGCN", tiny).config.settings.fast is True
