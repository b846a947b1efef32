"""Every sampler trains models of every kind that can take it, on negatives that nobody blocked."""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.dataloader.general_dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.sampler import Sampler
from test_training_step import one_epoch, rows
from tiny_runs import PLAIN, Run, as_set, observed, relabelled, same_tensors, train

from recbole_dtlns import registry
from recbole_dtlns.bridge.data.dataloader import CANDIDATES, CHOSEN
from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError, UnsupportedModelError
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerNegatives, VectorSampler
from recbole_dtlns.numerics.counter_random import counter_uniform

_COLUMNS = (lambda batch: batch["user_id"], lambda batch: batch["item_id"], lambda batch: batch[CANDIDATES][:, 0])
OTHER_DEFAULTS = {"dtlns_dns_top": 3, "dtlns_n_candidates": 6, "dtlns_srns_memory": 4}
SAME_LAYERS = {"hidden_size_list": [16, 16]}
VECTORS = ("mixgcf", "dens")
NO_RELABELLING = {"dtlns_relabel_add": False, "dtlns_relabel_exclude": False}


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "LightGCN", "NGCF", "DMF", "SimpleX", "SGL"])
@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_every_sampler_trains_every_kind_of_model(sampler: str, model: str, tiny: dict[str, Any]) -> None:
    settings = {**tiny, **OTHER_DEFAULTS, **SAME_LAYERS, "dtlns_sampler": sampler}
    if sampler in VECTORS and GENERAL[model].layers is None:
        with pytest.raises(UnsupportedModelError, match=f"{model} takes no negatives that are vectors: it .*dns"):
            train(model, settings)
        return
    run = train(model, settings)
    assert math.isfinite(run.result["test_result"]["recall@10"])
    blocked = observed(run.train) | as_set(relabelled(run)[1])
    for made, batch in one_epoch(run):
        users, _, negatives = rows(run, batch)
        if sampler in VECTORS:
            assert (negatives == torch.arange(len(users)) + run.train.item_num).all()
            users, negatives = users.repeat_interleave(batch[CHOSEN].shape[1]), batch[CHOSEN].flatten()
        assert as_set(PairSet(users.numpy(), negatives.numpy())).isdisjoint(blocked)
        assert (negatives > 0).all()
        assert made[CANDIDATES].shape[1] == (1 if sampler in ("rns", "popularity") else 6)


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "LightGCN"])
def test_ahns_sees_the_models_scores_of_candidates_and_positives(model: str, tiny: dict[str, Any]) -> None:
    """The negative is the candidate nearest to the target, by the model's own predictions, pairwise and pointwise."""
    run = train(model, tiny, dtlns_sampler="ahns", dtlns_ahns_beta=0.5, dtlns_n_candidates=6, learning_rate=0.05)
    network = run.trainer.model.eval()
    made, batch = next(iter(one_epoch(run)))
    users, positives, negatives = rows(run, batch)
    candidates = made[CANDIDATES][-len(users) :]

    def scores(items: torch.Tensor) -> torch.Tensor:
        return network.predict(Interaction({"user_id": users, "item_id": items})).detach()

    target = 0.5 / (scores(positives) + 1.0).clamp_min(0.05)
    distance = torch.stack([(scores(column) - target).abs() for column in candidates.T], dim=1)
    found = (scores(negatives) - target).abs()
    assert torch.allclose(found, distance.amin(dim=1), atol=1e-4)
    assert (distance.amax(dim=1) - distance.amin(dim=1)).max() > 1e-3, "the choice makes a difference"


def test_rns_is_the_first_candidate_of_every_other_sampler(tiny: dict[str, Any]) -> None:
    """One draw or ten, the first is the same: samplers are compared on the same random numbers."""
    runs = (train("BPR", tiny, dtlns_sampler=name, **OTHER_DEFAULTS) for name in ("rns", "dns"))
    first: list[dict[tuple[int, int], int]] = []
    for run in runs:
        made = [batch for batch, _ in one_epoch(run, 3)]
        users, items, drawn = (torch.cat([columns(batch) for batch in made]).tolist() for columns in _COLUMNS)
        first.append(dict(zip(zip(users, items, strict=True), drawn, strict=True)))
    assert len(first[0]) > 500 and first[0] == first[1]


def same_run(first: Run, second: Run) -> bool:
    """Whether two runs ended with the same weights and metrics."""
    weights = (run.trainer.model.state_dict() for run in (first, second))
    return first.result["test_result"] == second.result["test_result"] and same_tensors(*weights)


def test_bpr_with_rns_is_recboles_own_run(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the same negatives, plain RecBole ends with the same weights to the last bit."""
    ours = train("BPR", tiny, dtlns_sampler="rns", epochs=3, dtlns_fast=False, **NO_RELABELLING)
    loader = ours.data.train_loader
    pool, width, epochs, asked = loader.negatives.pool, len(loader._rows), [-1], []
    collate, iterate = TrainDataLoader.collate_fn, TrainDataLoader.__iter__

    def collate_and_tell(self: TrainDataLoader, index: Any) -> Interaction:
        asked.append(np.asarray(index))
        return collate(self, index)

    def iterate_and_count(self: TrainDataLoader) -> Any:
        epochs[0] += 1
        return iterate(self)

    def draw_as_ours(self: Sampler, user_ids: Any, item_ids: Any, num: int) -> torch.Tensor:
        assert num == 1 and len(user_ids) == len(asked[-1]) <= width
        uniform = counter_uniform(ours.config["seed"], epochs[0], asked[-1], 1)
        return torch.as_tensor(pool.draw(np.asarray(user_ids), np.asarray(item_ids), uniform)[:, 0])

    monkeypatch.setattr(TrainDataLoader, "collate_fn", collate_and_tell)
    monkeypatch.setattr(TrainDataLoader, "__iter__", iterate_and_count)
    monkeypatch.setattr(Sampler, "sample_by_user_ids", draw_as_ours)
    assert same_run(ours, train("BPR", {**tiny, **PLAIN}, epochs=3))
    assert len(asked) > 3


ORACLES = [
    (
        "dtlns without weights is dns",
        {"dtlns_sampler": "dtlns", "dtlns_alpha_structure": 0, "dtlns_alpha_semantic": 0},
        "dns",
        {},
    ),
    (
        "mixed dtlns without weights is mixgcf",
        {"dtlns_sampler": "dtlns", "dtlns_mixing": True, "dtlns_alpha_structure": 0, "dtlns_alpha_semantic": 0},
        "mixgcf",
        {},
    ),
    ("mixed dns is mixgcf", {"dtlns_sampler": "dns", "dtlns_mixing": True}, "mixgcf", {}),
    ("dns with the terms is dtlns", {"dtlns_sampler": "dns", "dtlns_tree_terms": True}, "dtlns", {}),
    (
        "mixgcf with the terms is mixed dtlns",
        {"dtlns_sampler": "mixgcf", "dtlns_tree_terms": True},
        "dtlns",
        {"dtlns_mixing": True},
    ),
    ("dns of one is rns", {"dtlns_sampler": "dns", "dtlns_n_candidates": 1}, "rns", {}),
    ("dns_mn of one is dns", {"dtlns_sampler": "dns_mn", "dtlns_dns_top": 1}, "dns", {}),
    (
        "a tree pool without a share is uniform",
        {"dtlns_sampler": "dns", "dtlns_pool": "tree", "dtlns_pool_tree_share": 0},
        "dns",
        {},
    ),
    ("warm-up is rns", {"dtlns_sampler": "dns", "dtlns_warmup_epochs": 9, "dtlns_pool": "tree"}, "rns", {}),
    (
        "n may grow from one",
        {"dtlns_sampler": "dns", "dtlns_n_candidates": {0: 1, 2: 1, 3: 10}},
        "rns",
        {},
    ),
    ("a bound of all items is rns", {"dtlns_sampler": "dns", "dtlns_hardest_rank": 10**6}, "rns", {}),
]


@pytest.mark.parametrize(("keys", "other", "others"), [oracle[1:] for oracle in ORACLES], ids=[o[0] for o in ORACLES])
def test_samplers_that_are_the_same_train_the_same(
    keys: dict[str, Any], other: str, others: dict[str, Any], tiny: dict[str, Any]
) -> None:
    """Draw for draw: equal weights after two epochs."""
    settings = {**tiny, "epochs": 2, "n_layers": 2}
    first = train("LightGCN", settings, **keys)
    assert same_run(first, train("LightGCN", settings, dtlns_sampler=other, **others))
    assert not same_run(first, train("LightGCN", settings, dtlns_sampler="dns_mn")), "the sampler makes a difference"


def test_candidates_follow_the_schedule(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, dtlns_n_candidates={2: 2, 6: 10}, dtlns_warmup_epochs=1)
    widths = {epoch: {made[CANDIDATES].shape[1] for made, _ in one_epoch(run, epoch)} for epoch in (0, 1, 2, 4, 6, 9)}
    assert widths == {0: {1}, 1: {2}, 2: {2}, 4: {6}, 6: {10}, 9: {10}}


def test_candidates_are_bounded_by_the_catalogue(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, dtlns_n_candidates={0: 2, 6: 10**6}, dtlns_hardest_rank=8)
    n_items = len(run.data.model_dataset.inter_feat["item_id"].unique())
    widths = [{made[CANDIDATES].shape[1] for made, _ in one_epoch(run, epoch)} for epoch in (0, 6)]
    assert widths == [{2}, {n_items // 8}] and n_items // 8 > 2


@pytest.mark.parametrize("sampler", ["srns", "dens", "mixgcf", "dns_mn"])
def test_two_and_two_epochs_equal_four(sampler: str, tiny: dict[str, Any]) -> None:
    """What a sampler remembers or learns is in the checkpoint: memory, past models, gates."""
    settings = {**tiny, **OTHER_DEFAULTS, "dtlns_sampler": sampler, "learning_rate": 0.01}
    first = train("BPR", {**settings, "epochs": 2})
    second = train("BPR", {**settings, "epochs": 4}, resume_from=str(first.folder))
    whole = train("BPR", {**settings, "epochs": 4})
    assert same_run(second, whole)
    states = [torch.load(run.folder / "last.pth", weights_only=True) for run in (second, whole)]
    for part in ("sampler", "past", "state_dict"):
        assert same_tensors(states[0][part], states[1][part]), part
    if sampler == "srns":
        assert len(states[1]["past"]) == 4 and (states[1]["sampler"]["memory"] > 0).any()


def test_past_models_score_as_they_did(tiny: dict[str, Any]) -> None:
    """The sampler of epoch t sees what the model of each earlier epoch says, and only five of them."""
    seen: dict[int, torch.Tensor] = {}

    class Watching(ItemSampler):
        past_epochs = 5

        def select(self, choice: Choice) -> torch.Tensor:
            assert choice.past is not None
            every = torch.arange(1, 6).repeat(len(choice.users), 1)
            seen[choice.epoch] = choice.past(every)[0][:, 0], choice.users[0]
            return choice.scores.argmax(dim=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SAMPLERS._builtin, "watching", Watching)
        run = train("LightGCN", tiny, dtlns_sampler="watching", epochs=7, learning_rate=0.05)
    assert [len(scores) for scores, _ in seen.values()] == [0, 1, 2, 3, 4, 5, 5]
    weights = torch.load(run.folder / "last.pth", weights_only=True)["past"]
    model = run.trainer.model.eval()
    kept, user = seen[6]
    for past, scores in zip(weights[:-1], kept[1:], strict=True):  # the last of those saved came after epoch 6
        model.load_state_dict(past)
        batch = Interaction({"user_id": user.repeat(5), "item_id": torch.arange(1, 6)})
        assert torch.allclose(model.predict(batch), scores, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(kept[0], kept[-1], rtol=1e-3)


class Easiest(ItemSampler):
    def select(self, choice: Choice) -> torch.Tensor:
        return choice.scores.argmin(dim=1)


def test_a_sampler_of_somebody_elses_is_named_in_the_settings(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class and an entry point, nothing else."""
    announced = [EntryPoint("easiest", f"{__name__}:Easiest", "recbole_dtlns.samplers")]
    monkeypatch.setattr(registry, "entry_points", lambda group: announced if group == "recbole_dtlns.samplers" else [])
    run = train("BPR", tiny, dtlns_sampler="easiest", learning_rate=0.05)
    made, batch = next(iter(one_epoch(run)))
    score = run.trainer.model.predict
    negatives = score(Interaction({"user_id": batch["user_id"], "item_id": batch["neg_item_id"]}))
    for column in made[CANDIDATES].T:
        assert (score(Interaction({"user_id": batch["user_id"], "item_id": column})) >= negatives - 1e-5).all()


class RealItem(VectorSampler):
    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        items = choice.candidates[:, 0]
        return LayerNegatives([table[items] for table in choice.item_layers], items[:, None])


def test_a_layer_sampler_of_somebody_elses(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes vectors for models that have layers, and is refused for others."""
    monkeypatch.setitem(SAMPLERS._builtin, "real", RealItem)
    run = train("LightGCN", tiny, dtlns_sampler="real")
    assert math.isfinite(run.result["test_result"]["recall@10"])
    with pytest.raises(UnsupportedModelError, match="NeuMF takes no negatives that are vectors"):
        train("NeuMF", tiny, dtlns_sampler="real")


def test_a_layer_sampler_proposes_candidates_and_sees_past_epochs(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[int, int] = {}

    class Watching(RealItem):
        past_epochs = 2

        def propose(self, users: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
            return drawn[:, :3]

        def negatives(self, choice: LayerChoice) -> LayerNegatives:
            assert choice.candidates.shape == (len(choice.users), 3)
            assert choice.past is not None
            scores, positive_scores = choice.past(choice.candidates)
            assert scores.shape[1:] == choice.candidates.shape
            kept[choice.epoch] = len(positive_scores)
            return super().negatives(choice)

    monkeypatch.setitem(SAMPLERS._builtin, "watching", Watching)
    train("LightGCN", tiny, dtlns_sampler="watching", epochs=4)
    assert kept == {0: 0, 1: 1, 2: 2, 3: 2}


def test_nothing_is_prepared_for_samplers_that_need_nothing(tiny: dict[str, Any]) -> None:
    """Uniform and score-based samplers without relabelling read no trees and no verdicts."""
    assert train("BPR", {**tiny, **NO_RELABELLING}, dtlns_sampler="dns").preparation is None
    assert train("BPR", {**tiny, **NO_RELABELLING}, dtlns_sampler="dtlns").preparation is not None
    assert train("BPR", {**tiny, **NO_RELABELLING}, dtlns_sampler="dns", dtlns_pool="tree").preparation is not None


def test_dens_wants_layers_of_one_length(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"the embedding's 16, and those here are 8, 16 long: set the sizes"):
        train("NGCF", tiny, dtlns_sampler="dens", hidden_size_list=[8])


def test_more_of_the_hardest_than_candidates_is_refused(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"dtlns_dns_top \(20\) must not exceed dtlns_n_candidates \(10\)"):
        train("BPR", tiny, dtlns_sampler="dns_mn", dtlns_dns_top=20)


def test_a_model_with_gates_can_teach(tiny: dict[str, Any]) -> None:
    """The gates are saved with the model, and are no part of it."""
    run = train("BPR", tiny, dtlns_sampler="dens")
    assert any(key.startswith("dtlns_") for key in run.trainer.model.state_dict())
    taught = train("BPR", tiny, dtlns_teacher="checkpoint", dtlns_teacher_checkpoint=str(run.folder / "last.pth"))
    assert math.isfinite(taught.result["test_result"]["recall@10"])
