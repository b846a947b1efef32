"""Losses over whole lists in real runs: batches of users, what the model adds, propagation, resuming, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from pydantic import Field
from recbole.model.general_recommender import LightGCN
from recbole.model.loss import EmbLoss
from test_own_losses import LAYERED, embeddings
from test_resume import weights
from tiny_runs import FORKS, Run, observed, per_user, same_tensors, train, used_pairs

from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.user_loader import UserDataLoader
from recbole_dtlns.bridge.models import memory
from recbole_dtlns.bridge.models.capabilities import resolve_model
from recbole_dtlns.bridge.models.list_loss import ListStep
from recbole_dtlns.bridge.models.ranking_loss import bpr_term, term_replaced
from recbole_dtlns.bridge.training.trainer import DTLNSTrainerMixin
from recbole_dtlns.components import Component
from recbole_dtlns.errors import ConfigError, ContractError, UnsupportedModelError
from recbole_dtlns.losses.contract import ListConfig, Listed, ListLoss, Others
from recbole_dtlns.losses.listwise import Listwise
from recbole_dtlns.losses.table import LOSSES
from recbole_dtlns.training.tensor_file import load_tensors

LISTWISE: dict[str, Any] = {"dtlns_preset": "rows", "dtlns_loss": "listwise", "dtlns_loss_users": 32}
SETTINGS = {"dtlns_loss_temperature": 0.5, "dtlns_loss_target_temperature": 2.0, "dtlns_loss_observed": 0.7}
# Every model that the table of capabilities offers.
MODELS = {name: LAYERED[name] for name in ("BPR", "LightGCN", "NGCF", "SpectralCF", "NCL", "DGCF")}


def step_of(run: Run) -> ListStep:
    network = run.trainer.model
    return run.trainer._step(run.data.train_loader, network.calculate_loss)


def copied(batch: Any) -> Any:
    return type(batch)({field: values.clone() for field, values in batch.interaction.items()})


def judged_of(run: Run) -> dict[tuple[int, int], float]:
    """Every judged pair's probability, in RecBole's ids."""
    assert run.preparation is not None
    found = to_recbole_ids(run.preparation.judged, run.preparation.train, run.train)
    return dict(zip(zip(found.users.tolist(), found.items.tolist(), strict=True), found.probability, strict=True))


def plainly(run: Run, user: int, scores: np.ndarray, settings: dict[str, float], most: int) -> float:
    """The definition for one user, from the run's data set and preparation."""
    temperature, sharpness, weight = settings.values()
    x = scores.astype(np.float64) / temperature
    items = np.arange(1, run.train.item_num)
    seen = sorted(item for owner, item in observed(run.train) if owner == user)
    unobserved = np.setdiff1d(items, seen)
    named = sorted((-p, item) for (owner, item), p in judged_of(run).items() if owner == user and p > 0)[:most]
    wanted = np.array([-p for p, _ in named], np.float64) ** (1 / sharpness)
    log_softmax = x - np.log(np.exp(x[unobserved]).sum())
    loss = -(wanted / wanted.sum() * log_softmax[[item for _, item in named]]).sum() if named else 0.0
    return loss - weight * (x[seen] - np.log(np.exp(x[items]).sum())).mean()


@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
def test_a_step_by_hand(model: str, tiny: dict[str, Any]) -> None:
    """The mean over users of the definition, and the regularisation of users, observed items and targets."""
    keys = {**tiny, **LISTWISE, **SETTINGS, **LAYERED[model]}
    run = train(model, keys, dtlns_loss_targets=7, learning_rate=0.05, reg_weight=0.1)
    network, batch = run.trainer.model, next(iter(run.data.train_loader))
    with torch.no_grad():
        users, items = embeddings(network)
        scores = (users[batch["user_id"]] @ items.T).numpy()
        losses = [plainly(run, user, scores[row], SETTINGS, 7) for row, user in enumerate(batch["user_id"].tolist())]
        expected = np.mean(losses)
        if model == "LightGCN":
            ego = (network.user_embedding(batch["user_id"]), network.item_embedding(batch["item_id"]))
            expected += 0.1 * float(EmbLoss()(*ego, network.item_embedding(batch["neg_item_id"])))
        assert float(step_of(run)(batch)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_those_of_the_definition(model: str, tiny: dict[str, Any]) -> None:
    """Through the model, of every parameter: its own loss in which the BPR term is the mean of the definition."""
    run = train(model, {**tiny, **LISTWISE, **MODELS[model]}, learning_rate=0.05, reg_weight=0.1)
    network, batch = run.trainer.model, next(iter(run.data.train_loader))
    lists = run.data.train_loader.lists.of(batch["user_id"].numpy())

    def dense(scores: torch.Tensor) -> torch.Tensor:
        seen = torch.zeros_like(scores)
        seen[lists.observed_rows, lists.observed_items] = 1
        wanted = torch.zeros_like(scores)
        wanted[lists.target_rows, lists.target_items] = torch.as_tensor(lists.target_probability)
        scores, seen, wanted = scores[:, 1:], seen[:, 1:], wanted[:, 1:]
        wanted = wanted / wanted.sum(dim=1, keepdim=True)
        taught = wanted * scores.masked_fill(seen > 0, -1e9).log_softmax(dim=1)
        own = seen / seen.sum(dim=1, keepdim=True) * scores.log_softmax(dim=1)
        return -(taught + 0.3 * own).sum(dim=1).mean()

    def gradients(loss: Any) -> dict[str, torch.Tensor]:
        total = sum(loss) if isinstance(loss, tuple) else loss
        network.zero_grad()
        total.backward()
        found = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
        return {"loss": total.detach(), **found}

    torch.manual_seed(0)
    found = gradients(step_of(run)(copied(batch)))
    torch.manual_seed(0)
    users, items = embeddings(network)[:2]
    value = dense(users[batch["user_id"]] @ items.T)
    term = bpr_term(network)
    assert term is not None
    with term_replaced(term, lambda positive, negative: value):
        expected = gradients(network.calculate_loss(copied(batch)))
    assert found.keys() == expected.keys() and len(found) > 1
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max())), name


@pytest.mark.parametrize("pool", ["uniform", "popularity"])
@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
def test_a_step_over_many_draws_nears_the_full_one(model: str, pool: str, tiny: dict[str, Any]) -> None:
    keys = {**tiny, **LISTWISE, **LAYERED[model], "dtlns_candidates": 20, "learning_rate": 0.05, "reg_weight": 0.0}
    run = train(model, keys, dtlns_loss_targets=3, dtlns_pool=pool, dtlns_loss_items=400_000)
    batch, drawn = next(iter(run.data.train_loader)), step_of(run)
    full = ListStep(
        run.trainer.model, run.data.train_loader, replace(drawn._objective, shared=None), drawn._loss_function
    )
    with torch.no_grad():
        assert float(drawn(copied(batch))) == pytest.approx(float(full(copied(batch))), rel=2e-3)


def test_few_draws_learn_too(tiny: dict[str, Any]) -> None:
    keys = {**tiny, **LISTWISE, "epochs": 15, "learning_rate": 0.05}
    drawn, full = (train("BPR", keys, dtlns_loss_items=items).result["best_valid_score"] for items in (20, 0))
    untrained = train("BPR", keys, epochs=0).result["test_result"]["ndcg@10"]
    assert full > 2 * untrained and drawn > 2 * untrained


def test_every_user_is_a_row_of_every_epoch_with_an_item_of_each_of_its_lists(tiny: dict[str, Any]) -> None:
    """In batches of as many users as were asked for, shuffled, and drawn anew; the last batch is what is left."""
    run = train("BPR", {**tiny, **LISTWISE})
    loader, seen, judged = run.data.train_loader, observed(run.train), judged_of(run)
    assert isinstance(loader, UserDataLoader)
    orders, items = [], []
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert all(len(batch) == 32 for batch in batches[:-1]) and 0 < len(batches[-1]) <= 32
        assert len(batches) == len(loader)
        users, own, named = (
            torch.cat([batch[field] for batch in batches]).tolist() for field in ("user_id", "item_id", "neg_item_id")
        )
        assert sorted(users) == sorted({user for user, _ in seen})
        assert set(zip(users, own, strict=True)) <= seen
        with_targets = {user for user, _ in judged}
        for user, first, second in zip(users, own, named, strict=True):
            assert (user, second) in judged if user in with_targets else second == first
        orders.append(users)
        items.append(dict(zip(users, zip(own, named, strict=True), strict=True)))
    assert orders[0] != orders[1] and items[0] != items[1] != items[2]


def test_the_same_seed_gives_the_same_weights(tiny: dict[str, Any]) -> None:
    first, again = (train("BPR", {**tiny, **LISTWISE}, epochs=2).folder for _ in range(2))
    assert same_tensors(weights(first), weights(again))


@FORKS
def test_workers_make_the_same_batches(tiny: dict[str, Any]) -> None:
    alone, many = (train("BPR", {**tiny, **LISTWISE}, epochs=2, worker=worker).folder for worker in (0, 2))
    assert same_tensors(weights(alone), weights(many))


@pytest.mark.parametrize("model", ["BPR", "NGCF"])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"dtlns_loss_items": 16, "dtlns_pool": "popularity"},
        {"dtlns_learning_rate_decay": "linear", "dtlns_average_weights": 0.9},
    ],
    ids=["all items", "drawn", "decay and average"],
)
@pytest.mark.parametrize("resumed", ["last.pth", "best.pth"])
def test_two_and_three_epochs_equal_five(model: str, keys: dict[str, Any], resumed: str, tiny: dict[str, Any]) -> None:
    """A run that is killed after two of its five epochs, and continued, is the run that was not."""
    dropout = {"hidden_size_list": [16], "message_dropout": 0.1} if model == "NGCF" else {}
    settings = {**tiny, **LISTWISE, **dropout, **keys, "epochs": 5, "learning_rate": 0.02}
    whole = train(model, settings)
    first = killed_after(2, model, settings)
    second = train(model, settings, resume_from=str(first / resumed))
    assert second.result["test_result"] == whole.result["test_result"]
    for file in ("last.pth", "best.pth"):
        one, other = (load_tensors(run.folder / file) for run in (whole, second))
        for part in ("state_dict", "optimizers", "averaged", "loader", "best_valid_score"):
            assert same_tensors(one[part], other[part]), (file, part)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "BPR"])
def test_a_graph_model_propagates_once_a_batch(
    model: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model_class = resolve_model(model)
    original, calls = model_class.forward, []

    def counted(self: torch.nn.Module, *arguments: Any) -> Any:
        calls.append(self.training)
        return original(self, *arguments)

    monkeypatch.setattr(model_class, "forward", counted)
    run = train(model, {**tiny, **LISTWISE, **MODELS[model]}, epochs=2)
    assert sum(calls) == 2 * len(run.data.train_loader) > 2


def test_nothing_but_train_pairs_and_verdicts_is_learnt_and_only_observed_pairs_mask(tiny: dict[str, Any]) -> None:
    """No pseudo-positive is in a sampler, and the evaluation is that of plain RecBole on the same data."""
    run = train("BPR", {**tiny, **LISTWISE})
    plain = train("BPR", tiny, dtlns_preset="off")
    lists = run.data.train_loader.lists
    known = {(int(u), int(i)) for u, i in zip(lists.pairs.users, lists.pairs.items, strict=True)}
    assert known == observed(run.train) | set(judged_of(run))
    assert used_pairs(run.data.train_loader.negatives) == observed(run.train)
    for name in ("valid_loader", "test_loader"):
        ours, theirs = getattr(run.data, name), getattr(plain.data, name)
        assert used_pairs(ours._sampler) == used_pairs(theirs._sampler)
        assert per_user(ours.uid2history_item) == per_user(theirs.uid2history_item)
        assert per_user(ours.uid2positive_item) == per_user(theirs.uid2positive_item)


def test_without_a_judge_the_observed_items_are_learnt_and_a_warning_says_so(
    tiny: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = train("BPR", {**tiny, **LISTWISE}, dtlns_method="off")
    assert run.preparation is None and len(run.data.train_loader.lists) == 0
    assert "dtlns_loss: listwise has no judged pair to learn from (dtlns_method: off)" in caplog.text
    batch = next(iter(run.data.train_loader))
    assert torch.equal(batch["item_id"], batch["neg_item_id"])


def test_plain_settings_ask_the_judge_for_a_loss_that_reads_it(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, dtlns_preset="off", dtlns_loss="listwise")
    assert run.preparation is not None and len(run.data.train_loader.lists)


@pytest.mark.parametrize("keys", [{"dtlns_sampler": "mixgcf"}, {"dtlns_relabel_add": True, "dtlns_relabel_weight": 9}])
def test_samplers_and_added_rows_are_no_part_of_it(keys: dict[str, Any], tiny: dict[str, Any]) -> None:
    first, second = (train("BPR", {**tiny, **LISTWISE, **more}).folder for more in ({}, keys))
    assert same_tensors(weights(first), weights(second))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("NeuMF", r"NeuMF scores by a network.*BPR, DGCF, LightGCN, NCL, NGCF, SpectralCF.*set dtlns_loss to model"),
        (
            "SGL",
            r"SGL keeps a loss of its own, which is no BPR term.*set dtlns_loss to model",
        ),
        ("MultiVAE", r"MultiVAE trains on whole user histories.*set dtlns_loss to model"),
    ],
)
def test_models_that_it_is_not_for_are_refused(model: str, message: str, tiny: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        train(model, {**tiny, **LISTWISE})


def test_a_model_that_scores_otherwise_is_found_out(tiny: dict[str, Any]) -> None:
    class Doubled(LightGCN):
        def predict(self, interaction: Any) -> torch.Tensor:
            return 2 * super().predict(interaction)

    with pytest.raises(UnsupportedModelError, match=r"Doubled's predict gives other scores.*dtlns_loss to bpr"):
        train(Doubled, {**tiny, **LISTWISE})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dtlns_pool": "popularity"}, "dtlns_pool: popularity needs draws: set dtlns_loss_items"),
        ({"dtlns_pool": "tree", "dtlns_loss_items": 9}, "set dtlns_pool to uniform or popularity"),
        ({"dtlns_loss_debiased": True}, "weighs negatives, and dtlns_loss: listwise has none"),
        ({"dtlns_loss_users": -1}, "dtlns_loss_users: input should be greater"),
    ],
)
def test_what_contradicts_is_refused(keys: dict[str, Any], message: str, tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=message):
        train("BPR", {**tiny, **LISTWISE, **keys})


def test_scores_that_no_memory_holds_are_refused(tiny: dict[str, Any]) -> None:
    """And fit where fewer are drawn."""
    keys = {**tiny, **LISTWISE}
    with mock.patch.object(memory, "_memory", return_value=(5 * 4 * 32 * 70, "memory")):
        with pytest.raises(ConfigError, match=r"ranks 80 items for 32 users at once.*dtlns_loss_items.*users lower"):
            train("BPR", keys)
        train("BPR", keys, dtlns_loss_items=20)


class Margin(ListLoss):
    """How far the others come within a margin of every target, and of the observed items."""

    class Config(ListConfig):
        distance: float = Field(1.0, gt=0)
        """By how much they should score higher."""

    config: Config

    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        hardest = others.scores.masked_fill(others.left_out, -1e9).max(dim=1).values
        total = torch.zeros_like(hardest)
        for listed in (observed, targets):
            losses = (self.config.distance + hardest[listed.rows] - listed.scores).clamp_min(0)
            total = total.index_add(0, listed.rows, losses)
        return total


def test_somebody_elses_loss_trains_with_settings_of_its_own(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is built in, under another name, trains bit for bit as under its own."""
    monkeypatch.setitem(LOSSES._builtin, "margin", Margin)
    run = train("LightGCN", {**tiny, **LISTWISE, "dtlns_loss": "margin"}, dtlns_loss_distance=0.5)
    objective = run.trainer.sampling.objective
    assert isinstance(objective.loss, Margin) and objective.loss.config.distance == 0.5
    monkeypatch.setitem(LOSSES._builtin, "mine", type("Mine", (Listwise,), {}))
    first, second = (train("BPR", {**tiny, **LISTWISE, "dtlns_loss": loss}).folder for loss in ("listwise", "mine"))
    assert same_tensors(weights(first), weights(second))


def test_a_loss_that_only_says_it_takes_lists_is_refused(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES._builtin, "odd", type("Odd", (Component,), {"takes_lists": True}))
    with pytest.raises(ContractError, match="'odd' is no subclass of RowLoss, SharedLoss or ListLoss"):
        train("BPR", {**tiny, **LISTWISE, "dtlns_loss": "odd"})


def test_the_log_counts_targets(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    run = train("BPR", {**tiny, **LISTWISE})
    lists = run.data.train_loader.lists
    assert f"lists: {len(lists)} targets for {lists.users_with_targets} of {len(lists.users)} users" in caplog.text


def killed_after(epochs: int, model: str, settings: dict[str, Any]) -> Path:
    """The folder of a run whose process was ended in the epoch after these."""

    class Killed(BaseException):
        pass

    original, folder = DTLNSTrainerMixin._train_epoch, []

    def train_epoch(self: Any, train_data: Any, epoch: int, *arguments: Any, **named: Any) -> Any:
        folder.append(self.run_folder)
        if epoch == epochs:
            raise Killed
        return original(self, train_data, epoch, *arguments, **named)

    with mock.patch.object(DTLNSTrainerMixin, "_train_epoch", train_epoch), pytest.raises(Killed):
        train(model, settings)
    return Path(folder[0])
