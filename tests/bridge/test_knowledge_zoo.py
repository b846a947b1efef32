"""Every knowledge-aware recommender of RecBole: it trains with chosen negatives, and its facts as RecBole has them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import recbole.model.knowledge_aware_recommender as zoo
import torch
from block_data import block_pairs, split_pairs
from facts import FACTS, MODELS, SAMPLE, keys_of, load_col, write_facts
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import KnowledgeRecommender
from recbole.model.knowledge_aware_recommender.kgat import KGAT
from recbole.utils import KGDataLoaderState
from test_protocol_rule import artefact_files
from test_zoo import Watched
from tiny_runs import (
    PLAIN,
    QUICK,
    RELABEL_ALL,
    Run,
    all_or_sample,
    as_set,
    in_two_parts,
    observed,
    per_user,
    plain_recbole_loaders,
    relabelled,
    same_tensors,
    train,
    used_pairs,
)

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataloader import WEIGHT
from recbole_dtlns.bridge.data.knowledge_loader import row_loader
from recbole_dtlns.bridge.data.run_data import plain_run_data
from recbole_dtlns.bridge.data.splits import load_splits
from recbole_dtlns.bridge.models.capabilities import resolve_model
from recbole_dtlns.bridge.models.kinds import KINDS
from recbole_dtlns.bridge.models.knowledge import KNOWLEDGE
from recbole_dtlns.bridge.models.making import constructed
from recbole_dtlns.bridge.models.ranking_loss import bpr_term
from recbole_dtlns.bridge.runner import run_recbole_dtlns
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import DataError, UnsupportedModelError
from recbole_dtlns.negatives.samplers import SAMPLERS

ROWS = {"dtlns_relabel_weight": 0.5, "dtlns_relabel_top": 0}


def of_zoo() -> set[str]:
    found = set()
    for module in pkgutil.iter_modules(zoo.__path__):
        for name, member in vars(importlib.import_module(f"{zoo.__name__}.{module.name}")).items():
            own = inspect.isclass(member) and member.__module__ == f"{zoo.__name__}.{module.name}"
            if own and issubclass(member, KnowledgeRecommender):
                found.add(name)
    return found


def test_the_table_names_every_model_of_the_zoo() -> None:
    assert of_zoo() == set(KNOWLEDGE) == set(MODELS)


def untrained(model: str) -> tuple[torch.nn.Module, Watched, Any]:
    """The model as its constructor leaves it, the data set that it was given, and RecBole's training loader for it."""
    keys = {**QUICK, **write_facts(), **keys_of(model), **PLAIN}
    config = DTLNSConfig(model, FACTS, config_dict=keys)
    data = plain_run_data(config, *load_splits(config))
    dataset = Watched(data.model_dataset)
    with quiet_recbole():
        return constructed(config, dataset), dataset, data.train_loader


@pytest.mark.parametrize("model", MODELS)
def test_the_table_is_right_about_who_reads_interactions_and_negatives(model: str) -> None:
    network, dataset, loader = untrained(model)
    assert dataset.interactions_read == KNOWLEDGE[model].graph
    loader.set_mode(KGDataLoaderState.RSKG)
    batch = next(iter(loader))
    column = "neg_item_id" if "neg_item_id" in batch else "item_id"

    def loss_with(negative: int) -> list[float]:
        changed = Interaction({field: values.clone() for field, values in batch.interaction.items()})
        changed[column][len(changed[column]) // 2 :] = negative
        for seeded in (random.seed, np.random.seed, torch.manual_seed):
            seeded(0)
        losses = getattr(network, "calculate_rs_loss", network.calculate_loss)(changed)
        return [float(loss.detach()) for loss in (losses if isinstance(losses, tuple) else (losses,))]

    with quiet_recbole():
        assert loss_with(1) != loss_with(2)


@pytest.mark.parametrize("model", MODELS)
def test_an_epoch_with_chosen_negatives(model: str) -> None:
    """Positives are rows, metrics are numbers, and the choice of negatives reaches the loss."""
    settings = {**write_facts(), **keys_of(model), **ROWS, "dtlns_relabel_graph": KNOWLEDGE[model].graph}
    run, uniform = (
        train(model, settings, dataset=FACTS, dtlns_sampler=sampler, saved=False) for sampler in ("dns", "recbole")
    )
    assert len(relabelled(run)[0]) > 50
    assert all(0 <= value <= 1 for value in run.result["test_result"].values())
    assert run.trainer.train_loss_dict[0] != uniform.trainer.train_loss_dict[0]


@pytest.mark.matrix
@pytest.mark.parametrize("sampler", SAMPLERS.names())
@pytest.mark.parametrize("model", MODELS)
def test_every_pair_of_model_and_sampler_trains_or_says_why_not(model: str, sampler: str) -> None:
    settings = {**write_facts(), **keys_of(model), "dtlns_sampler": sampler, "dtlns_dns_top": 2, "dtlns_srns_memory": 2}
    if sampler in ("mixgcf", "dens") and KNOWLEDGE[model].layers is None:
        with pytest.raises(UnsupportedModelError, match=f"{model} takes no negatives that are vectors: it "):
            train(model, settings, dataset=FACTS)
        return
    run = train(model, settings, dataset=FACTS, saved=False)
    assert np.isfinite(run.trainer.train_loss_dict[0])


@pytest.mark.parametrize("model", all_or_sample(MODELS, SAMPLE))
def test_one_and_two_epochs_equal_three(model: str) -> None:
    """The order of rows and of facts, drawn entities, KGAT's attention: all of it goes on."""
    settings = {**write_facts(), **keys_of(model)}
    _, *runs = in_two_parts(model, settings, 1, 3, FACTS)
    after, expected = (torch.load(one.folder / "last.pth", weights_only=True) for one in runs)
    for part in ("epoch", "state_dict", "optimizers", "random", "loader", "best_valid_result"):
        assert same_tensors(after[part], expected[part]), part
    assert after["other_parameter"].keys() == expected["other_parameter"].keys()
    for name in expected["other_parameter"]:
        values = [saved["other_parameter"][name] for saved in (after, expected)]
        assert same_tensors(*(one.to_dense() if isinstance(one, torch.Tensor) else one for one in values)), name


def test_earlier_epochs_of_a_model_that_keeps_lists_of_tensors_are_remembered() -> None:
    run = train("RippleNet", write_facts(), dataset=FACTS, epochs=2, dtlns_sampler="srns")
    assert run.trainer._past is not None and len(run.trainer._past.state()) == 2


# --- the two halves ---


class Batches:
    """What a model's losses were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cls: type, *losses: str) -> None:
        self.given: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in losses}
        for name in losses:
            self._watch(monkeypatch, cls, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, cls: type, name: str) -> None:
        original = getattr(cls, name)

        def watched(model: Any, interaction: Interaction) -> Any:
            self.given[name].append({field: values.clone() for field, values in interaction.interaction.items()})
            return original(model, interaction)

        monkeypatch.setattr(cls, name, watched)


def test_the_half_of_facts_is_what_it_is_without_chosen_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """KGAT's first epoch: the same facts in the same order; and of rows, ours instead of RecBole's."""
    keys = write_facts()
    batches = Batches(monkeypatch, KGAT, "calculate_loss", "calculate_kg_loss")
    heads = []
    for extra in (PLAIN, {"dtlns_sampler": "dns"}):
        run = train("KGAT", keys, dataset=FACTS, saved=False, **extra)
        facts, rows = batches.given["calculate_kg_loss"], batches.given["calculate_loss"]
        assert set(facts[0]) == set(load_col()["kg"]) | {"neg_tail_id"}
        assert set(rows[0]) == {"user_id", "item_id", "neg_item_id"}
        assert sum(len(batch["user_id"]) for batch in rows) == row_loader(run.data.train_loader).sample_size
        heads.append(torch.cat([batch["head_id"] for batch in facts]))
        facts.clear()
        rows.clear()
    assert torch.equal(*heads)


def test_rows_and_facts_of_one_batch_both_reach_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of CKE, whose batches hold both; and no column of this package's own."""
    batches = Batches(monkeypatch, zoo.CKE, "calculate_loss")
    run = train("CKE", write_facts(), dataset=FACTS, saved=False, **ROWS)
    given = batches.given["calculate_loss"]
    assert sum(len(batch["user_id"]) for batch in given) == row_loader(run.data.train_loader).sample_size
    assert row_loader(run.data.train_loader).sample_size > len(run.train)
    assert set(given[0]) == {"user_id", "item_id", "neg_item_id", *load_col()["kg"], "neg_tail_id"}
    drawn = {
        pair for batch in given for pair in zip(batch["user_id"].tolist(), batch["neg_item_id"].tolist(), strict=True)
    }
    assert not drawn & observed(run.train)
    assert max(item for _, item in drawn) < run.train.item_num


def weighed_batch(model: str) -> tuple[Run, Interaction]:
    """A batch with rows of weight 1 and of weight .5, and facts; negatives as drawn."""
    run = train(model, write_facts() | keys_of(model), dataset=FACTS, saved=False, dtlns_sampler="rns", **ROWS)
    loader = run.data.train_loader
    row_loader(loader).set_epoch(5)
    loader.set_mode(KGDataLoaderState.RSKG)
    batch = next(batch for batch in loader if set(batch[WEIGHT].tolist()) == {0.5, 1.0})
    run.trainer.model.eval()
    return run, batch


def test_weights_of_rows_are_none_of_facts() -> None:
    """CFKG has one mean over rows and facts: worked out from its embeddings."""
    run, batch = weighed_batch("CFKG")
    network, trainer = run.trainer.model, run.trainer
    weights = torch.cat([batch[WEIGHT], torch.ones(len(batch["head_id"]))])
    users, entities, relations = (
        table.weight.detach()
        for table in (network.user_embedding, network.entity_embedding, network.relation_embedding)
    )
    start = torch.cat(
        [users[batch["user_id"]] + relations[-1], entities[batch["head_id"]] + relations[batch["relation_id"]]]
    )
    right, wrong = (
        entities[torch.cat([batch[item], batch[tail]])]
        for item, tail in (("item_id", "tail_id"), ("neg_item_id", "neg_tail_id"))
    )
    terms = torch.nn.functional.softplus(-(start * right).sum(1)) + torch.nn.functional.softplus((start * wrong).sum(1))
    step = trainer._step_beside_facts(run.data.train_loader, network.calculate_loss)
    assert step(batch).item() == pytest.approx(float((weights * terms).mean()), rel=1e-5)


def test_a_model_with_two_pairwise_terms_is_weighed_in_that_of_rows() -> None:
    run, batch = weighed_batch("CKE")
    network, trainer = run.trainer.model, run.trainer
    assert bpr_term(network) is network.rec_loss
    plain = network.calculate_loss(Interaction(dict(batch.interaction)))
    users = network.user_embedding(batch["user_id"])
    of_items = [
        (users * (network.item_embedding(items) + network.entity_embedding(items))).sum(1)
        for items in (batch["item_id"], batch["neg_item_id"])
    ]
    losses = -torch.log(1e-10 + torch.sigmoid(of_items[0] - of_items[1]))
    weighed = trainer._step_beside_facts(run.data.train_loader, network.calculate_loss)(batch)
    assert weighed[0].item() == pytest.approx((batch[WEIGHT] * losses).mean().item(), rel=1e-5)
    assert [part.item() for part in weighed[1:]] == [part.item() for part in plain[1:]]


def test_a_term_that_no_loss_uses_is_not_weighed() -> None:
    """RippleNet holds a BPRLoss and learns labels: its rows are weighed all the same."""
    run, batch = weighed_batch("RippleNet")
    network, trainer = run.trainer.model, run.trainer
    assert bpr_term(network) is None
    step = trainer._step_beside_facts(run.data.train_loader, network.calculate_loss)
    halves = {}
    for weight in (0.5, 1.0):
        rows = batch[WEIGHT] == weight
        columns = {field: values[rows] for field, values in batch.interaction.items() if len(values) == len(rows)}
        halves[weight] = int(rows.sum()) / len(rows), network.calculate_loss(Interaction(columns)).item()
    expected = sum(weight * share * loss for weight, (share, loss) in halves.items())
    assert step(batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "settings", [{"dtlns_sampler": "mixgcf"}, {"dtlns_loss": "sampled_softmax"}, {"dtlns_preset": "best"}]
)
def test_vectors_of_kgat_are_those_of_items_among_entities(settings: dict[str, Any]) -> None:
    """Mixed negatives, products with shared ones and whole lists: its table of items has entities behind them."""
    run = train("KGAT", write_facts(), dataset=FACTS, **settings)
    assert run.train.entity_num > run.train.item_num
    assert run.result["test_result"]["ndcg@10"] > 0
    assert np.isfinite(run.trainer.train_loss_dict[0])


# --- the protocol ---


def test_ids_and_the_evaluation_mask_are_those_of_plain_recbole() -> None:
    keys = write_facts()
    run = train("KGAT", keys, dataset=FACTS, **RELABEL_ALL)
    assert len(relabelled(run)[0]) > 50
    _, *plain = plain_recbole_loaders("KGAT", FACTS, keys)
    for ours, theirs in zip((run.data.valid_loader, run.data.test_loader), plain, strict=True):
        assert ours._dataset.field2token_id == theirs._dataset.field2token_id
        assert per_user(ours.uid2history_item) == per_user(theirs.uid2history_item)
        assert per_user(ours.uid2positive_item) == per_user(theirs.uid2positive_item)
    parts = [
        observed(loader._dataset) for loader in (run.data.train_loader, run.data.valid_loader, run.data.test_loader)
    ]
    assert used_pairs(row_loader(run.data.train_loader)._sampler) == parts[0]
    assert used_pairs(run.data.test_loader._sampler) == parts[0] | parts[1] | parts[2]
    assert as_set(relabelled(run)[0]) & parts[2], "the test would show nothing"


@pytest.mark.parametrize("in_advance", [False, True], ids=["cut by RecBole", "cut in advance"])
def test_an_item_shares_its_id_with_its_entity_alone(in_advance: bool) -> None:
    data = train("CKE", write_facts(in_advance=in_advance), dataset=FACTS, epochs=0, **PLAIN).train
    items, entities = data.field2id_token["item_id"], data.field2id_token["entity_id"]
    joined = dict(line.split("\t") for line in Path("data/facts/facts.link").read_text().splitlines()[1:])
    known = {line.split("\t")[0] for line in Path("data/facts/facts.kg").read_text().splitlines()[1:]}
    assert len(entities) == data.entity_num > data.item_num == len(items)
    for place, item in enumerate(items[1:], start=1):
        assert entities[place] == (joined[item] if joined.get(item) in known else item)
    assert len(set(entities.tolist())) == len(entities)
    without = {item for item in items[1:].tolist() if joined.get(item) not in known}
    assert len(without) == (2 if in_advance else 0)
    tokens = {
        (entities[head], entities[tail])
        for head, tail in zip(data.head_entities.tolist(), data.tail_entities.tolist(), strict=True)
    }
    lines = Path("data/facts/facts.kg").read_text().splitlines()[1:]
    assert tokens == {(line.split("\t")[0], line.split("\t")[2]) for line in lines}


def test_artefacts_do_not_depend_on_evaluation_pairs_nor_on_facts() -> None:
    parts = split_pairs(*block_pairs())
    others = (parts[0], (parts[2][0], parts[2][1][::-1]), (parts[1][0][::-1], parts[1][1]))
    settings = {**RELABEL_ALL, "dtlns_judge": "structural"}
    run = train("KGAT", write_facts("a", in_advance=True, parts=parts), dataset=FACTS, **settings, dtlns_cache_dir="1")
    train("KGAT", write_facts("b", in_advance=True, parts=others), dataset=FACTS, **settings, dtlns_cache_dir="2")
    assert artefact_files("1") == artefact_files("2")
    assert len(relabelled(run)[0]) > 0


# --- what cannot be ---


def test_without_facts_a_run_is_refused_before_any_work() -> None:
    keys = write_facts()
    Path("data/facts/facts.link").unlink()
    Path("data/facts/facts.kg").rename("data/facts/other.kg")
    with pytest.raises(
        DataError,
        match=r"KGAT learns from facts .* has no facts\.kg and no facts\.link; it has facts\.inter, other\.kg",
    ):
        run_recbole_dtlns("KGAT", FACTS, config_dict=keys)
    assert not Path("saved").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"HEAD_ENTITY_ID_FIELD": "head"}, r"has no field head; it has head_id:token, .*Set HEAD_ENTITY_ID_FIELD"),
        ({"ENTITY_ID_FIELD": "thing"}, r"facts\.link: has no field thing; it has item_id:token, entity_id:token"),
        ({"load_col": {**load_col(), "kg": ["head_id", "tail_id"]}}, r"relation_id, which .*let load_col hold kg: \["),
        (
            {"load_col": {"inter": ["user_id", "item_id"]}},
            r"leaves out: let load_col hold kg: \[head_id, relation_id, tail_id",
        ),
    ],
)
def test_fields_that_are_missing_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run_recbole_dtlns("CKE", FACTS, config_dict={**write_facts(), **change})
    assert not Path("saved").exists()


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("link", "i0-00\te-second", "joins two entities, .* to one item, i0-00"),
        ("link", "i-new\te-i0-00", "joins two items, .* to one entity, e-i0-00"),
    ],
)
def test_links_that_recbole_would_number_wrongly_are_refused(file: str, line: str, message: str) -> None:
    keys = write_facts()
    with Path(f"data/facts/facts.{file}").open("a") as opened:
        opened.write(line + "\n")
    with pytest.raises(DataError, match=message):
        run_recbole_dtlns("CKE", FACTS, config_dict=keys)


def test_links_that_join_nothing_are_said_to_be_written_otherwise() -> None:
    keys = write_facts()
    file = Path("data/facts/facts.link")
    file.write_text(file.read_text().replace("\te-", "\tE-"))
    with pytest.raises(DataError, match=r"none of \d+ items in facts\.link .*are the tokens written alike"):
        run_recbole_dtlns("CKE", FACTS, config_dict=keys)


def test_how_many_interactions_recbole_leaves_out_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run = train("CKE", write_facts(), dataset=FACTS, epochs=0, **PLAIN)
    loaders = (run.data.train_loader, run.data.valid_loader, run.data.test_loader)
    whole = sum(len(loader._dataset) for loader in loaders)
    rows = len(Path("data/facts/facts.inter").read_text().splitlines()) - 1
    assert whole < rows
    assert f"{rows - whole} of {rows} interactions are of items that facts.link joins to no entity" in caplog.text


@pytest.mark.parametrize("model", ["CFKG", "KGCN", "KGIN", "MKR"])
def test_the_impossible_is_refused_with_the_reason(model: str) -> None:
    for settings in ({"dtlns_sampler": "mixgcf"}, {"dtlns_loss": "sampled_softmax"}):
        with pytest.raises(UnsupportedModelError, match=model):
            run_recbole_dtlns(model, "no-such-data", config_dict=settings)


def test_a_loss_type_without_a_pairwise_term_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="cannot help MCCLK while loss_type is BCE: set it to BPR"):
        run_recbole_dtlns("MCCLK", "no-such-data", config_dict={"loss_type": "BCE"})


def test_users_without_a_train_pair_are_refused_for_a_model_that_is_made_of_these() -> None:
    parts = split_pairs(*block_pairs())
    parts = (parts[0], (np.append(parts[1][0], "nobody"), np.append(parts[1][1], "i0-00")), parts[2])
    keys = write_facts(in_advance=True, parts=parts)
    with pytest.raises(DataError, match=r"1 users of validation or test \(the first: 'nobody'\) .* RippleNet"):
        run_recbole_dtlns("RippleNet", FACTS, config_dict={**QUICK, **keys})


def test_torch_searches_for_anomalies_no_more_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole's module of SINE turns that on when it is imported, which every knowledge model brings about."""
    module = "recbole.model.sequential_recommender.sine"
    monkeypatch.delitem(sys.modules, module, raising=False)
    assert not torch.is_anomaly_enabled()
    resolve_model("SINE")
    assert module in sys.modules and not torch.is_anomaly_enabled()


def test_a_model_of_somebody_s_own_has_the_trainer_of_the_one_that_it_extends() -> None:
    class Mine(KGAT):
        pass

    with mock.patch.object(KGAT, "calculate_kg_loss", autospec=True, side_effect=KGAT.calculate_kg_loss) as of_facts:
        run = train(Mine, write_facts(), dataset=FACTS, saved=False)
    assert of_facts.call_count == len(run.data.train_loader.kg_dataloader)
    assert KINDS[Mine.type].reads_facts
