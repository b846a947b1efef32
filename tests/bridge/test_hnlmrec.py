"""HNLMRec in real runs: what is generated reads train alone, the head learns, and without it nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_data import block_pairs, split_pairs
from recbole.data.interaction import Interaction
from test_item_text import write_items
from test_protocol_rule import artefact_files
from test_resume import weights
from test_training_step import one_epoch
from tiny_runs import QUICK, Run, as_set, observed, same_tensors, train, used_pairs, write_tiny

from recbole_dtlns import prepare_only, transform_files
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataloader import CANDIDATES, CHOSEN
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.bridge.training.training_step import TrainingStep
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError, DataError, UnsupportedModelError
from recbole_dtlns.generation.given import write_pair_vectors
from recbole_dtlns.guidance.generated import MatchedItems
from recbole_dtlns.methods.hnlmrec import HNLMRec
from recbole_dtlns.preparation import Preparation

HNLMREC: dict[str, Any] = {
    "dtlns_method": "hnlmrec",
    "dtlns_sampler": "rns",
    "dtlns_text_fields": ["title"],
    "dtlns_text_tfidf_dim": 8,
    "dtlns_candidates": 8,
    "dtlns_relabel_add": False,
    "dtlns_hnlmrec_projection_batch_size": 64,
    "dtlns_hnlmrec_head": [8],
}
GENERATORS = ("rule", "projection")
ALONE = {"dtlns_hnlmrec_share": 0.0, "dtlns_hnlmrec_contrast": 0.0}
HARD = {"dtlns_judge": "rank", "dtlns_judge_rank_first": 2}  # leaves hard negatives among the candidates


@pytest.fixture
def told(tiny: dict[str, Any]) -> dict[str, Any]:
    """Config keys of the block data with an .item file."""
    write_items()
    return tiny


def prepared(keys: dict[str, Any], **settings: Any) -> Preparation:
    found = prepare_only("BPR", "tiny", config_dict={**QUICK, **keys, **HNLMREC, **settings})
    assert isinstance(found, Preparation) and found.generated is not None
    return found


# --- nothing before evaluation reads validation or test pairs ---


@pytest.mark.parametrize("space", ["text", "teacher"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_artefacts_are_byte_identical_when_every_evaluation_pair_is_replaced(generator: str, space: str) -> None:
    train_part, valid, test = split_pairs(*block_pairs())
    new_valid = (np.append(test[0], ["a-new-user", "u0-00"]), np.append(test[1], ["i1-01", "i9-99"]))
    new_test = (np.append(valid[0][::-1], "zz-new-user"), np.append(valid[1], "i8-88"))
    tokens = np.unique(block_pairs()[1])
    made = []
    for name, parts, more in (
        ("first", (train_part, valid, test), []),
        ("second", (train_part, new_valid, new_test), ["i9-99", "i8-88"]),
    ):
        keys = write_tiny(name, parts)
        write_items(name, np.append(tokens, more))
        settings = {**HNLMREC, **HARD, "dtlns_hnlmrec_generator": generator, "dtlns_hnlmrec_space": space}
        run = train("BPR", keys, **settings, dtlns_cache_dir=f"cache-{name}")
        assert run.preparation is not None and run.preparation.generated is not None
        users, items = run.preparation.train.histories()
        made.append(run.preparation.generated.of(users, items, np.zeros(len(users)))[0].tobytes())
    files = artefact_files("cache-first")
    assert "generated" in {Path(name).parent.name for name in files}
    assert files == artefact_files("cache-second")
    assert made[0] == made[1]


def test_artefacts_follow_the_train_pairs_the_texts_and_the_judge(told: dict[str, Any]) -> None:
    """The counterpart of the test above, which artefacts that depend on nothing would pass."""

    def made(**settings: Any) -> set[str]:
        prepared(told, **settings)
        return {name for name in artefact_files("cache") if name.startswith("generated")}

    first = made()
    assert made() == first
    judged = made(dtlns_judge="never")
    assert len(judged) == 2
    write_items(without=("i0-00",))
    assert len(made()) == 3
    part, valid, test = split_pairs(*block_pairs())
    fewer = write_tiny("fewer", ((part[0][1:], part[1][1:]), valid, test))
    write_items("fewer")
    prepared({**told, **fewer})
    assert len({name for name in artefact_files("cache") if name.startswith("generated")}) == 4


def test_generated_pairs_reach_no_mask_and_no_sampler(told: dict[str, Any]) -> None:
    run = train("BPR", told, **HNLMREC, **HARD)
    data = run.data
    parts = [observed(loader._dataset) for loader in (data.train_loader, data.valid_loader, data.test_loader)]
    assert used_pairs(data.valid_loader._sampler) == parts[0] | parts[1]
    assert used_pairs(data.test_loader._sampler) == parts[0] | parts[1] | parts[2]
    assert observed(run.train) == parts[0]


@pytest.mark.parametrize("control", ["none", "shuffled"])
def test_what_is_generated_is_neither_observed_nor_a_false_negative(control: str, told: dict[str, Any]) -> None:
    run = train("BPR", told, **HNLMREC, **HARD, dtlns_hnlmrec_control=control)
    done = run.preparation
    assert done is not None and isinstance(done.generated, MatchedItems)
    users, _ = done.train.histories()
    items = done.generated.items
    assert (items >= 0).all()
    named = PairSet.of(np.repeat(users, items.shape[1]), items.ravel())
    blocked = observed(run.train) | as_set(to_recbole_ids(done.forbidden, done.train, run.train))
    assert len(done.forbidden) > 50
    assert as_set(to_recbole_ids(named, done.train, run.train)).isdisjoint(blocked)


# --- identity: with nothing mixed in, the sampler alone is at work ---


def own_weights(run: Run) -> dict[str, torch.Tensor]:
    """The model's, without those of what the sampler learns beside it."""
    return {name: value for name, value in run.trainer.model.state_dict().items() if ".head." not in name}


IDENTITIES = [
    ("BPR", "rns", {}),
    ("BPR", "dns", {}),
    ("BPR", "srns", {"dtlns_srns_memory": 4}),
    ("BPR", "mixgcf", {}),
    ("LightGCN", "rns", {}),
    ("LightGCN", "mixgcf", {}),
    ("NGCF", "dns", {"hidden_size_list": [16], "node_dropout": 0.1, "message_dropout": 0.1}),
    ("BPR", "dtlns", {"dtlns_relabel_add": True}),
]
NEARLY = [case for case in IDENTITIES if case[1] != "srns"]  # which draws from torch's generator, as the mix does


@pytest.mark.parametrize(("model", "sampler", "more"), IDENTITIES, ids=lambda value: str(value)[:20])
def test_without_a_share_it_is_the_sampler_to_the_last_bit(
    model: str, sampler: str, more: dict[str, Any], told: dict[str, Any]
) -> None:
    settings = {**HNLMREC, **more, "dtlns_sampler": sampler, "epochs": 3}
    ours = train(model, told, **settings, **ALONE)
    plain = train(model, told, **{**settings, "dtlns_method": "dtlns"})
    assert ours.result["test_result"] == plain.result["test_result"]
    assert ours.result["best_valid_result"] == plain.result["best_valid_result"]
    assert same_tensors(own_weights(ours), own_weights(plain))


@pytest.mark.parametrize(("model", "sampler", "more"), NEARLY, ids=lambda value: str(value)[:20])
def test_a_share_of_next_to_nothing_changes_next_to_nothing(
    model: str, sampler: str, more: dict[str, Any], told: dict[str, Any]
) -> None:
    """The way through the mix is the sampler's own, too, and not only the one that leaves it out."""
    settings = {**HNLMREC, **more, "dtlns_sampler": sampler, "epochs": 2, "node_dropout": 0.0, "message_dropout": 0.0}
    nearly = {**ALONE, "dtlns_hnlmrec_share": 1e-9}
    ours = train(model, told, **settings, **nearly)
    plain = train(model, told, **{**settings, "dtlns_method": "dtlns"})
    for name, value in own_weights(plain).items():
        assert torch.allclose(own_weights(ours)[name], value, atol=1e-4), name


def test_a_schedule_begins_as_the_sampler_alone(told: dict[str, Any]) -> None:
    later = {**HNLMREC, **ALONE, "dtlns_hnlmrec_share": {2: 0.0, 3: 0.5}}
    plain = {**HNLMREC, "dtlns_method": "dtlns"}
    for epochs, same in ((3, True), (4, False)):
        ours, theirs = (weights(train("BPR", told, **settings, epochs=epochs).folder) for settings in (later, plain))
        assert torch.equal(ours["item_embedding.weight"], theirs["item_embedding.weight"]) == same


# --- the head learns, and what was generated counts ---


def head_of(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.trainer.model.state_dict().items() if ".head." in name}


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "NGCF"])
@pytest.mark.parametrize(
    "learns",
    [{}, {"dtlns_hnlmrec_align": 0.0, "dtlns_hnlmrec_ranking_reaches_head": True}],
    ids=["from items", "from the ranking loss"],
)
def test_gradients_reach_the_head_and_the_optimizer_moves_it(
    learns: dict[str, Any], model: str, told: dict[str, Any]
) -> None:
    settings = {**HNLMREC, **learns, "hidden_size_list": [16]}
    start, end = (head_of(train(model, told, **settings, epochs=epochs)) for epochs in (0, 2))
    assert len(start) == 4
    assert all(not torch.equal(start[name], end[name]) for name in start)


def batch_loss(run: Run) -> torch.Tensor:
    """The loss of the first batch, and its gradient in the model's parameters."""
    loader, model = run.data.train_loader, run.trainer.model
    loader.set_epoch(0)
    step = TrainingStep(model, loader, run.trainer.sampling, model.calculate_loss)
    model.zero_grad()
    torch.manual_seed(0)
    loss = step(next(iter(loader)))
    loss.backward()
    return loss.detach()


def test_other_vectors_change_the_loss_and_the_ranking_loss_leaves_the_head_alone(told: dict[str, Any]) -> None:
    run = train("BPR", told, **HNLMREC, shuffle=False)
    sampler = run.trainer.sampling.sampler
    before = batch_loss(run)
    assert torch.equal(before, batch_loss(run))
    kept = sampler.generated
    sampler.generated = lambda users, positives, uniform: (
        kept(users, positives, uniform)[0].flip(0),
        kept(users, positives, uniform)[1],
    )
    assert not torch.equal(before, batch_loss(run))
    sampler.generated = kept
    sampler.config = sampler.config.model_copy(update={"align": 0.0})
    batch_loss(run)
    gradients = [weight.grad for weight in sampler.head.parameters()]
    assert all(gradient is None or not gradient.any() for gradient in gradients)
    sampler.config = sampler.config.model_copy(update={"ranking_reaches_head": True})
    batch_loss(run)
    assert all(weight.grad is not None and weight.grad.any() for weight in sampler.head.parameters())


@pytest.mark.parametrize("join", [("BPR", {}), ("LightGCN", {}), ("NGCF", {"hidden_size_list": [16, 16]})], ids=str)
def test_the_loss_is_that_of_the_definition(join: tuple[str, dict[str, Any]], told: dict[str, Any]) -> None:
    """BPR of the mix, L_cl and the alignment, written out plainly over one batch."""
    model_name, more = join
    shares = {"dtlns_hnlmrec_share": 0.3, "dtlns_hnlmrec_contrast": 0.5, "dtlns_hnlmrec_align": 2.0, "shuffle": False}
    run = train(model_name, told, **HNLMREC, **more, **shares, node_dropout=0.0, message_dropout=0.0, reg_weight=0.0)
    model, sampler = run.trainer.model, run.trainer.sampling.sampler
    found = batch_loss(run)
    loader = run.data.train_loader
    loader.set_epoch(0)
    batch = next(iter(loader))
    users, positives, negatives = batch["user_id"], batch["item_id"], batch[CANDIDATES][:, 0]
    uniform = (batch["dtlns_uniform"] * 4096) % 1
    vectors, known = sampler.generated(users, positives, uniform)
    assert known.all()
    h = sampler.head(vectors)
    if model_name == "BPR":
        user_table, item_table = model.user_embedding.weight, model.item_embedding.weight
        layers = 1
    else:
        user_table, item_table = model.forward()[:2]
        layers = user_table.shape[1] // 16
    u, p, j = user_table[users], item_table[positives], item_table[negatives]
    wide = h.repeat(1, layers)
    mixed = 0.3 * wide + 0.7 * j
    bpr = -torch.log(1e-10 + torch.sigmoid((u * p).sum(1) - (u * mixed).sum(1))).mean()
    near, far = torch.cosine_similarity(u, p), torch.cosine_similarity(u, wide)
    contrast = -torch.log((near / 0.2).exp() / ((near / 0.2).exp() + (far / 0.2).exp())).mean()
    place = p.view(len(p), layers, 16).mean(1)
    said = sampler.vectors[positives]
    aligned = (sampler.head(said) - place).square().sum(1).mean()
    assert found.item() == pytest.approx((bpr + 0.5 * contrast + 2 * aligned).item(), rel=1e-4)


def test_alignment_brings_an_item_to_where_the_model_has_it(told: dict[str, Any]) -> None:
    def distance(run: Run) -> float:
        sampler, items = run.trainer.sampling.sampler, run.trainer.model.item_embedding.weight.detach()
        with torch.no_grad():
            return float((sampler.head(sampler.vectors[1:]) - items[1:]).square().sum(1).mean())

    runs = [train("BPR", told, **HNLMREC, epochs=epochs, learning_rate=0.01, eval_step=0) for epochs in (1, 30)]
    assert distance(runs[1]) < 0.5 * distance(runs[0])


@pytest.mark.parametrize("sampler", ["rns", "mixgcf", "dens"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_two_and_three_epochs_equal_five(generator: str, sampler: str, told: dict[str, Any]) -> None:
    settings = {**HNLMREC, **HARD, "dtlns_hnlmrec_generator": generator, "dtlns_sampler": sampler}
    settings["dtlns_hnlmrec_share"] = {0: 0.0, 4: 0.4}
    whole = train("LightGCN", told, **settings, epochs=5).result
    first = train("LightGCN", told, **settings, epochs=2).result
    second = train("LightGCN", told, **settings, epochs=5, resume_from=first["run_folder"]).result
    assert second["test_result"] == whole["test_result"]
    assert same_tensors(weights(second["run_folder"]), weights(whole["run_folder"]))
    assert any(".head." in name for name in weights(whole["run_folder"]))


@pytest.mark.parametrize("generator", GENERATORS)
def test_added_positives_without_a_generated_negative_keep_the_chosen_one(generator: str, told: dict[str, Any]) -> None:
    """Rows of the judge's positives were never generated for; theirs is what the sampler chose."""
    settings = {**HNLMREC, **HARD, "dtlns_hnlmrec_generator": generator}
    run = train("BPR", told, **{**settings, "dtlns_relabel_add": True, "dtlns_relabel_weight": 2.0})
    sampler = run.trainer.sampling.sampler
    rows, known = 0, 0
    for made, _ in one_epoch(run):
        _, has = sampler.generated(made["user_id"], made["item_id"], made["dtlns_uniform"])
        pairs = zip(made["user_id"].tolist(), made["item_id"].tolist(), strict=True)
        assert has.tolist() == [pair in observed(run.train) for pair in pairs]
        rows, known = rows + len(has), known + int(has.sum())
    assert 0 < known < rows
    assert 0 < sampler.facts()["rows without a generated negative"] < 1


@pytest.mark.parametrize("control", ["shuffled", "random"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_controls_have_other_vectors_for_the_same_pairs(generator: str, control: str, told: dict[str, Any]) -> None:
    settings = {**HARD, "dtlns_hnlmrec_generator": generator}
    plain = prepared(told, **settings).generated
    before = artefact_files("cache")
    found = [prepared(told, **settings, dtlns_hnlmrec_control=control).generated for _ in range(2)]
    assert artefact_files("cache") == before, "a control is dealt from what is kept"
    assert plain is not None and all(one is not None for one in found)
    users, items = plain.train.histories()
    uniform = np.zeros(len(users))
    vectors = [one.of(users, items, uniform) for one in (plain, *found) if one is not None]
    assert np.array_equal(vectors[1][0], vectors[2][0]), "the same seed deals the same"
    assert np.array_equal(vectors[0][1], vectors[1][1])
    assert (vectors[0][0] != vectors[1][0]).any(axis=1).mean() > 0.5


# --- vectors from elsewhere ---


def test_vectors_of_pairs_come_back_from_a_folder_and_stay_on_disk(told: dict[str, Any]) -> None:
    made = prepared(told)
    assert made.generated is not None
    count = write_pair_vectors("vectors", made.generated, {"model": "rule", "revision": "1"})
    assert count == made.train.matrix.nnz
    about = json.loads(Path("vectors/about.json").read_text())
    assert (about["model"], about["dtype"], about["shape"]) == ("rule", "float16", [count, 8])
    given = {"dtlns_hnlmrec_generator": "file", "dtlns_hnlmrec_file": "vectors"}
    read = prepared(told, **given).generated
    assert read is not None and isinstance(read.table, np.memmap)  # type: ignore[attr-defined]
    users, items = made.train.histories()
    first, second = (one.of(users, items, np.zeros(len(users)))[0] for one in (made.generated, read))
    assert np.allclose(first, second, atol=1e-3)
    run = train("BPR", told, **HNLMREC, **given)
    assert run.result["test_result"]["ndcg@10"] > 0


def test_a_folder_of_other_pairs_or_of_nan_is_refused(told: dict[str, Any]) -> None:
    made = prepared(told).generated
    assert made is not None
    given = {"dtlns_hnlmrec_generator": "file", "dtlns_hnlmrec_file": "vectors"}
    with pytest.raises(DataError, match=r"cannot read the vectors of pairs in vectors.*vectors\.npy"):
        prepared(told, **given)
    write_pair_vectors("vectors", made, {})
    table = np.load("vectors/vectors.npy")
    table[3, 1] = np.nan
    np.save("vectors/vectors.npy", table)
    with pytest.raises(DataError, match=r"vectors\.npy, row 3: NaN or infinity"):
        prepared(told, **given)
    np.save("vectors/vectors.npy", table[:5])
    with pytest.raises(DataError, match=r"names \d+ pairs, and vectors\.npy has 5 rows"):
        prepared(told, **given)


# --- what cannot work is refused before any work ---

REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "a model that scores by a network": (
        "NeuMF",
        {},
        UnsupportedModelError,
        "NeuMF takes no negatives that are vectors",
    ),
    "a model without negatives": ("MultiVAE", {}, UnsupportedModelError, "MultiVAE takes neither negatives nor"),
    "no text": ("BPR", {"dtlns_text_fields": []}, ConfigError, "dtlns_hnlmrec_space: teacher"),
    "no sampler": ("BPR", {"dtlns_sampler": "recbole"}, ConfigError, "set dtlns_sampler to rns"),
    "whole lists": ("BPR", {"dtlns_loss": "listwise"}, ConfigError, "dtlns_loss: listwise has none of a row's own"),
    "shared negatives": ("BPR", {"dtlns_loss": "sampled_softmax"}, ConfigError, "takes negatives that a batch shares"),
    "a head that nothing trains": ("BPR", {"dtlns_hnlmrec_align": 0}, ConfigError, "the head would not be trained"),
    "a share above 1": ("BPR", {"dtlns_hnlmrec_share": 1.5}, ConfigError, "dtlns_hnlmrec_share: must be at most 1"),
    "an unknown generator": ("BPR", {"dtlns_hnlmrec_generator": "rul"}, Exception, "Did you mean 'rule'"),
    "no folder": ("BPR", {"dtlns_hnlmrec_generator": "file"}, ConfigError, "needs dtlns_hnlmrec_file"),
    "layers of other lengths": ("NGCF", {"hidden_size_list": [8]}, ConfigError, "set the sizes of its layers to"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_the_reason(case: str, told: dict[str, Any]) -> None:
    model, settings, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        train(model, told, **{**HNLMREC, **settings})
    if case != "layers of other lengths":
        assert not Path("cache").exists(), "nothing was prepared before"


def test_a_transform_has_no_column_for_vectors(told: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="generates vectors, which a transform has no column for"):
        transform_files("transformed", "BPR", "tiny", config_dict={**QUICK, **told, **HNLMREC})


def test_a_judge_that_leaves_no_hard_negative_names_what_to_do(told: dict[str, Any]) -> None:
    of_teacher = {"dtlns_hnlmrec_generator": "projection", "dtlns_hnlmrec_learn_from": "teacher"}
    with pytest.raises(DataError, match=r"raise dtlns_candidates.*set dtlns_hnlmrec_learn_from: rule"):
        prepared(told, dtlns_judge="always", **of_teacher)


def test_the_search_prepares_once_for_each_generator(told: dict[str, Any]) -> None:
    settings = DTLNSConfig("BPR", "tiny", config_dict={**told, **HNLMREC}).settings
    read = HNLMRec.from_flat(settings.flat).keys_read(settings.flat, make_teacher(settings.flat))
    assert {"hnlmrec_generator", "hnlmrec_rule_profile", "text_fields", "teacher", "judge"} <= read
    assert not {"hnlmrec_share", "hnlmrec_head", "hnlmrec_projection_epochs"} & read


def test_its_summary_says_what_was_generated(told: dict[str, Any]) -> None:
    done = prepared(told)
    assert f"rule: {done.train.matrix.nnz} of {done.train.matrix.nnz} train pairs have one" in done.summary()
    learnt = prepared(told, **HARD, dtlns_hnlmrec_generator="projection").summary()
    assert "projection: " in learnt and "; loss " in learnt


def test_hinge_and_several_negatives(told: dict[str, Any]) -> None:
    run = train(
        "BPR", told, **HNLMREC, dtlns_loss="hinge", train_neg_sample_args={"distribution": "uniform", "sample_num": 2}
    )
    for _, batch in one_epoch(run):
        assert isinstance(batch, Interaction) and batch[CHOSEN].shape == (len(batch), 1)
