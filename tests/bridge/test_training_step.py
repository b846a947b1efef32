"""One step: RecBole's batch layout, the choice of negatives, the weights of rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import BPR
from test_zoo import SMALL
from tiny_runs import PLAIN, Run, as_set, observed, relabelled, same_tensors, train

from recbole_dtlns.bridge.data.dataloader import CANDIDATES, ROW, UNIFORM, WEIGHT
from recbole_dtlns.bridge.data.ids import tree_positions
from recbole_dtlns.bridge.models.capabilities import resolve_model
from recbole_dtlns.bridge.models.propagation import propagation_shared
from recbole_dtlns.bridge.training.training_step import Sampling, TrainingStep
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.trees.item_tree import ItemTree

TWO_NEGATIVES = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 2}}


class Recorder:
    """A loss that keeps the batches it is given."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.batches: list[Interaction] = []

    def __call__(self, interaction: Interaction) -> torch.Tensor:
        self.batches.append(interaction)
        return self.run.trainer.model.calculate_loss(interaction)


def one_epoch(run: Run, epoch: int = 0) -> list[tuple[Interaction, Interaction]]:
    """Pairs of what the loader made and what the loss was given, over one epoch."""
    loader, recorder = run.data.train_loader, Recorder(run)
    step = TrainingStep(run.trainer.model, loader, run.trainer.sampling, recorder)
    step._weighted_loss = recorder  # the split by weight is tested on its own
    loader.set_epoch(epoch)
    made = []
    for batch in loader:
        made.append(Interaction({field: values.clone() for field, values in batch.interaction.items()}))
        step(batch)
    return list(zip(made, recorder.batches, strict=True))


def rows(run: Run, batch: Interaction) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """User, positive and negative of every negative row, from a pairwise or pointwise batch."""
    if "neg_item_id" in batch:
        return batch["user_id"], batch["item_id"], batch["neg_item_id"]
    times = run.data.train_loader.times
    users, items = batch["user_id"].view(times, -1), batch["item_id"].view(times, -1)
    positives = items[0].expand(times - 1, -1)
    return users[1:].flatten(), positives.flatten(), items[1:].flatten()


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
@pytest.mark.parametrize("sampling", [{}, TWO_NEGATIVES], ids=["one", "two"])
def test_negatives_are_never_observed_forbidden_or_padding(
    model: str, sampling: dict[str, Any], tiny: dict[str, Any]
) -> None:
    run = train(model, tiny, **sampling)
    blocked = observed(run.train) | as_set(relabelled(run)[1])
    drawn = 0
    for _, batch in one_epoch(run):
        users, _, negatives = rows(run, batch)
        pairs = set(zip(users.tolist(), negatives.tolist(), strict=True))
        assert pairs.isdisjoint(blocked)
        assert (negatives > 0).all()
        drawn += len(negatives)
    assert drawn == len(run.data.train_loader._rows) * (2 if sampling else 1)


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
def test_batches_have_recboles_layout(model: str, tiny: dict[str, Any]) -> None:
    """k negatives are k blocks of the same pairs; pointwise rows start with the positives, labelled 1."""
    run = train(model, tiny, **TWO_NEGATIVES)
    for _, batch in one_epoch(run):
        if model == "BPR":
            blocks = torch.stack([batch["user_id"], batch["item_id"]]).view(2, 2, -1)
            assert torch.equal(blocks[:, 0], blocks[:, 1])
        else:
            users, labels = batch["user_id"].view(3, -1), batch["label"].view(3, -1)
            assert torch.equal(users[0], users[1]) and torch.equal(users[0], users[2])
            assert (labels[0] == 1).all() and (labels[1:] == 0).all()
        pairs = set(zip(*(part.tolist() for part in rows(run, batch)[:2]), strict=True))
        assert pairs <= observed(run.train) | as_set(relabelled(run)[0])


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
def test_batches_differ_from_recboles_only_in_the_negatives(model: str, tiny: dict[str, Any]) -> None:
    settings = {**tiny, **TWO_NEGATIVES, "shuffle": False}
    ours = train(model, settings, dtlns_relabel_add=False).data.train_loader
    theirs = train(model, {**settings, **PLAIN}).data.train_loader
    negative = "neg_item_id" if model == "BPR" else "item_id"
    for mine, plain in zip(ours, theirs, strict=True):
        for column in (CANDIDATES, UNIFORM, ROW):
            mine.drop(column)
        assert {field: values.dtype for field, values in mine.interaction.items()} == {
            field: values.dtype for field, values in plain.interaction.items()
        }
        assert not torch.equal(mine[negative], plain[negative])
        positives = len(mine) // ours.times if model == "NeuMF" else 0
        for batch in (mine, plain):
            batch[negative][positives:] = 0
        for field in mine.columns:
            assert torch.equal(mine[field], plain[field]), field


@pytest.mark.parametrize("sampler", ["dtlns", "recbole"])
def test_every_item_that_may_be_a_negative_is_drawn(sampler: str, tiny: dict[str, Any]) -> None:
    """The counterpart: never drawing anything but one item would also be never drawing a blocked one."""
    run = train("BPR", tiny, dtlns_sampler=sampler)
    loader, user = run.data.train_loader, 1
    drawn: set[int] = set()
    for epoch in range(60):
        loader.set_epoch(epoch)
        drawn |= {item for batch in loader for item in batch[CANDIDATES][batch["user_id"] == user].flatten().tolist()}
    blocked = {item for owner, item in observed(run.train) | as_set(relabelled(run)[1]) if owner == user}
    assert drawn == set(range(1, run.train.item_num)) - blocked


def plain_similarity(tree: ItemTree, first: int, second: int) -> float:
    a, b = (tree.paths[item].split("-") for item in (first, second))
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    return shared / min(len(a), len(b))


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "LightGCN"])
@pytest.mark.parametrize(("alpha_structure", "alpha_semantic"), [(0.1, 0.3), (0.0, 0.0), (5.0, 0.0)])
def test_the_negative_is_the_argmax_of_q(
    model: str, alpha_structure: float, alpha_semantic: float, tiny: dict[str, Any]
) -> None:
    """Against a plain reading of the definition, with the model's own predict."""
    run = train(
        model,
        tiny,
        dtlns_alpha_structure=alpha_structure,
        dtlns_alpha_semantic=alpha_semantic,
        mlp_hidden_size=[8],
        dropout_prob=0.0,
    )
    assert run.preparation is not None
    position = tree_positions(run.preparation.train, run.train)
    made, given = one_epoch(run)[0]
    users, positives, negatives = rows(run, given)
    candidates = made[CANDIDATES][-len(users) :]
    run.trainer.model.eval()
    for row in range(0, len(users), 7):
        drawn = candidates[row]
        repeated = Interaction({"user_id": users[row].repeat(len(drawn)), "item_id": drawn})
        with torch.no_grad():
            scores = run.trainer.model.predict(repeated).numpy().reshape(-1)
        scaled = (scores - scores.min()) / (scores.max() - scores.min() + 1e-8)
        here, there = position[int(positives[row])], position[drawn.numpy()]
        quality = [
            value
            + alpha_structure * plain_similarity(run.preparation.structure, here, item)
            + alpha_semantic * plain_similarity(run.preparation.semantic, here, item)
            for value, item in zip(scaled, there, strict=True)
        ]
        best = drawn[np.flatnonzero(np.isclose(quality, max(quality), atol=1e-5))]
        assert int(negatives[row]) in best.tolist()


def test_one_candidate_trains_as_no_choice(tiny: dict[str, Any]) -> None:
    """With n = 1 there is nothing to choose, so the run equals one that draws uniformly."""
    one = train("BPR", tiny, dtlns_n_candidates=1, dtlns_alpha_structure=0.0, dtlns_alpha_semantic=0.0)
    none = train("BPR", tiny, dtlns_sampler="recbole")
    assert one.result["test_result"] == none.result["test_result"]
    assert same_tensors(one.trainer.model.state_dict(), none.trainer.model.state_dict())


def test_one_candidate_is_the_negative(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, dtlns_n_candidates=1)
    for made, given in one_epoch(run):
        assert torch.equal(made[CANDIDATES][:, 0], given["neg_item_id"])


def test_rows_count_by_their_weight(tiny: dict[str, Any]) -> None:
    """The loss of a batch is the mean over rows of weight times the row's loss."""
    run = train("BPR", tiny, dtlns_relabel_weight=0.25, dtlns_relabel_top=0)
    loader, model = run.data.train_loader, run.trainer.model
    batch = next(iter(loader))
    weights = batch[WEIGHT]
    assert sorted(weights.unique().tolist()) == [0.25, 1.0]
    step = TrainingStep(model, loader, Sampling(), model.calculate_loss)
    with torch.no_grad():
        u, p, n = (batch[field] for field in ("user_id", "item_id", "neg_item_id"))
        users, items = model.user_embedding.weight, model.item_embedding.weight
        difference = (users[u] * (items[p] - items[n])).sum(dim=1)
        by_row = -torch.log(1e-10 + torch.sigmoid(difference))
        assert float(step(batch)) == pytest.approx(float((weights * by_row).mean()), rel=1e-5)


def test_later_places_weigh_less(tiny: dict[str, Any]) -> None:
    """The k-th best of a user's added rows weighs weight / k ** decay, whatever the ids of the items."""
    run = train(
        "BPR", tiny, dtlns_judge="always", dtlns_relabel_top=4, dtlns_relabel_weight=0.6, dtlns_relabel_decay=2.0
    )
    candidates, canonical, part = run.preparation.candidates, run.preparation.train, run.train
    users = part.token2id("user_id", canonical.user_tokens)[candidates.users]
    items = part.token2id("item_id", canonical.item_tokens)[candidates.items]
    rank = dict(zip(zip(users.tolist(), items.tolist(), strict=True), candidates.ranks.tolist(), strict=True))
    rows = run.data.train_loader.positives_of(np.arange(len(part), run.data.train_loader.sample_size))
    pairs = zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)
    expected = [0.6 / (1 + rank[pair]) ** 2 for pair in pairs]
    assert len(set(expected)) == 4
    assert rows[WEIGHT].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("parts", [1, 2], ids=["one loss", "a tuple of losses"])
def test_weights_by_hand(parts: int) -> None:
    """Rows 1, 2, 3, 4 with weights 1, 0.5, 1, 0.5: (1 + 1 + 3 + 2) / 4."""

    def mean_of_rows(batch: Interaction) -> Any:
        loss = batch["value"].mean()
        return loss if parts == 1 else (loss, 10 * loss)

    batch = Interaction({"value": torch.tensor([1.0, 2, 3, 4]), WEIGHT: torch.tensor([1, 0.5, 1, 0.5])})
    loader = SimpleNamespace(warming_up=False)
    loss = TrainingStep(torch.nn.Identity(), loader, Sampling(), mean_of_rows)._weighted_loss(batch)
    assert loss == 1.75 if parts == 1 else loss == (1.75, 17.5)


def test_weights_reach_pointwise_blocks(tiny: dict[str, Any]) -> None:
    """An added positive and each of its negatives carry its weight."""
    run = train("NeuMF", tiny, **TWO_NEGATIVES, dtlns_relabel_weight=0.25)
    model, loader = run.trainer.model.eval(), run.data.train_loader
    batch = next(iter(loader))
    weights = batch[WEIGHT].view(3, -1)
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])
    with torch.no_grad():
        logits = model.forward(batch["user_id"], batch["item_id"])
        by_row = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["label"], reduction="none")
        expected = float((batch[WEIGHT] * by_row).mean())
        loss = TrainingStep(model, loader, Sampling(), model.calculate_loss)(batch)
        assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "SGL"])
def test_weight_one_is_the_loss_of_the_joint_batch(name: str, tiny: dict[str, Any]) -> None:
    """To the last bit, gradients too."""
    run = train(name, tiny, dtlns_relabel_weight=1.0, n_layers=1)
    model, batch = run.trainer.model, next(iter(run.data.train_loader))
    joint = Interaction({field: values.clone() for field, values in batch.interaction.items() if field != WEIGHT})

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        model.zero_grad()
        loss.backward()
        return [loss.detach(), *(weight.grad.clone() for weight in model.parameters())]

    with torch.random.fork_rng():
        stepped = gradients(TrainingStep(model, run.data.train_loader, Sampling(), model.calculate_loss)(batch))
    assert same_tensors(stepped, gradients(model.calculate_loss(joint)))


@pytest.mark.parametrize("name", ["SGL", "ConvNCF"])
def test_rows_count_by_their_weight_where_a_model_sums_over_rows(name: str, tiny: dict[str, Any]) -> None:
    """The rows of a batch, each with its weight, add up as the rows alone do."""
    keys = {"ssl_weight": 0.0, "reg_weight": 0.0, "reg_weights": [0.0, 0.0], "dropout_prob": 0.0}
    run = train(name, {**tiny, **SMALL.get(name, {})}, dtlns_relabel_weight=0.25, dtlns_relabel_top=0, **keys)
    loader, model = run.data.train_loader, run.trainer.model.eval()
    batch = next(iter(loader))
    rows = [
        Interaction({field: values[row : row + 1] for field, values in batch.interaction.items() if field != WEIGHT})
        for row in range(len(batch))
    ]
    with torch.no_grad():
        expected = sum(float(w) * float(model.calculate_loss(row)) for w, row in zip(batch[WEIGHT], rows, strict=True))
        assert float(TrainingStep(model, loader, Sampling(), model.calculate_loss)(batch)) == pytest.approx(
            expected, rel=1e-4
        )


def test_a_bpr_term_over_something_else_than_rows_is_not_weighed_in_silence(tiny: dict[str, Any]) -> None:
    class OverPairs(BPR):
        def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
            score = self.predict(interaction)
            return self.loss(score[:, None], score[None])

    with pytest.raises(UnsupportedModelError, match=r"65536 scores for 256 rows.*dtlns_relabel_add"):
        train(OverPairs, tiny, dtlns_sampler="rns")


@pytest.mark.parametrize(("model", "propagations"), [("LightGCN", 1), ("NGCF", 1), ("SpectralCF", 1), ("SGL", 3)])
def test_a_graph_model_propagates_once_per_step(
    model: str, propagations: int, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring and the groups of rows by weight share it; SGL propagates over the graph and two views of it."""
    model_class = resolve_model(model)
    original, in_training = model_class.forward, []

    def counted(self: torch.nn.Module, *graph: torch.Tensor) -> Any:
        in_training.append(self.training)
        if self.training:  # it serves the loss as well as the scores, so the loss's dropout is in it
            assert all(layer.training for layer in self.modules())
        return original(self, *graph)

    monkeypatch.setattr(model_class, "forward", counted)
    run = train(model, tiny)
    assert run.data.train_loader._has_positives
    assert sum(in_training) == propagations * len(run.data.train_loader)
    assert "forward" not in vars(run.trainer.model)


def test_propagations_over_graphs_that_pass_away_are_not_mixed_up() -> None:
    """Python gives the id of a freed argument to the next one."""

    class OverAnyGraph(torch.nn.Module):
        def forward(self, graph: torch.Tensor) -> torch.Tensor:
            return graph.sum()

    model = OverAnyGraph()
    with propagation_shared(model):
        for size in range(1, 50):
            assert float(model.forward(torch.ones(size))) == size


def test_gradients_are_those_of_the_loss_on_the_chosen_negatives(tiny: dict[str, Any]) -> None:
    """Scoring leaves no trace in the gradient, and sharing the propagation does not change it."""
    run = train("LightGCN", tiny, dtlns_relabel_add=False)
    model, loader = run.trainer.model, run.data.train_loader
    recorder = Recorder(run)
    model.zero_grad()
    TrainingStep(model, loader, run.trainer.sampling, recorder)(next(iter(loader))).backward()
    shared = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    model.calculate_loss(recorder.batches[0]).backward()
    for name, weight in model.named_parameters():
        assert torch.allclose(shared[name], weight.grad, rtol=1e-5, atol=1e-9), name


@pytest.mark.parametrize("name", ["NeuMF", "GCMC"])
def test_dropout_rests_while_candidates_are_scored(
    name: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GCMC drops entries of sparse features, by a layer of RecBole's own."""
    run = train(name, tiny, dropout_prob=0.5)
    model, loader = run.trainer.model, run.data.train_loader
    layers = [layer for layer in model.modules() if "Dropout" in type(layer).__name__]
    assert layers
    seen = []
    original = model.predict
    monkeypatch.setattr(model, "predict", lambda batch: seen.append([x.training for x in layers]) or original(batch))
    model.train()
    TrainingStep(model, loader, run.trainer.sampling, model.calculate_loss)(next(iter(loader)))
    assert seen == [[False] * len(layers)]
    assert all(layer.training for layer in layers)


def test_an_error_in_the_loss_leaves_the_model_as_it_was(tiny: dict[str, Any]) -> None:
    model = train("LightGCN", tiny).trainer.model
    with pytest.raises(ZeroDivisionError), propagation_shared(model):
        raise ZeroDivisionError
    assert "forward" not in vars(model)
