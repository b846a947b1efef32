"""Runs of knowledge models are loaded without their data, begun with, refitted and explained."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from block_data import block_pairs, split_pairs
from facts import FACTS, MODELS, SAMPLE, keys_of, write_facts
from test_load_run import assert_alike
from tiny_runs import PLAIN, all_or_sample, observed, train, used_pairs

from recbole_dtlns import load_run
from recbole_dtlns.bridge.data.knowledge_loader import row_loader
from recbole_dtlns.bridge.models.knowledge import KNOWLEDGE
from recbole_dtlns.bridge.serving.explain import Explainer
from recbole_dtlns.errors import ConfigError, UnsupportedModelError


@pytest.mark.parametrize("model", all_or_sample(MODELS, SAMPLE))
def test_every_model_recommends_as_recbole_does_without_its_data(model: str) -> None:
    """Facts, ids of entities, KGAT's attention and what was drawn for a model come back."""
    settings = {**keys_of(model), **PLAIN, "use_st_gumbel": False, "dtlns_relabel_graph": KNOWLEDGE[model].graph}
    run = train(model, {**write_facts(), **settings}, dataset=FACTS, epochs=2)
    shutil.rmtree("data")
    assert_alike(run)


def test_vectors_of_kgat_are_those_of_items_alone() -> None:
    run = train("KGAT", write_facts(), dataset=FACTS)
    loaded = load_run(run.folder, device="cpu")
    assert loaded.item_vectors.shape == (run.train.item_num - 1, 16 + 8)
    ((_, best),) = loaded.recommend(loaded.users[:1], k=5, exclude=None)
    tokens, scores = zip(*best, strict=True)
    places = [loaded.items.tolist().index(token) for token in tokens]
    np.testing.assert_allclose(loaded.item_vectors[places] @ loaded.user_vectors[0], scores, rtol=1e-4, atol=1e-6)
    with pytest.raises(UnsupportedModelError, match=r"CKE has no vectors .*: it adds two tables up"):
        _ = load_run(train("CKE", write_facts(), dataset=FACTS, **PLAIN).folder, device="cpu").vectors


@pytest.mark.parametrize("model", ["CKE", "KGCN", "MKR"])
def test_a_warm_start_matches_entities_by_their_tokens(model: str) -> None:
    """On the same data in another order of rows and facts, training begins where the earlier run ended."""
    parts = split_pairs(*block_pairs())
    shuffled = tuple(tuple(tokens[::-1] for tokens in part) for part in parts)
    settings = {**keys_of(model), **PLAIN}
    first = train(model, {**write_facts("a", in_advance=True, parts=parts), **settings}, dataset=FACTS)
    keys = write_facts("b", in_advance=True, parts=shuffled)
    file = Path("b/facts/facts.kg")
    head, *facts = file.read_text().splitlines()
    tastes, others = ([fact for fact in facts if ("of_genre" in fact) is of_genre] for of_genre in (True, False))
    file.write_text("\n".join([head, *tastes[::-1], *others, ""]))
    begun = train(model, {**keys, **settings}, dataset=FACTS, epochs=0, init_from=str(first.folder))
    old, new = first.trainer.model.state_dict(), begun.trainer.model.state_dict()
    table = {"CKE": "entity_embedding", "KGCN": "entity_embedding", "MKR": "item_embeddings_lookup"}[model] + ".weight"
    before, now = (run.train.field2token_id["entity_id"] for run in (first, begun))
    assert before.keys() == now.keys() and before != now
    for token, place in before.items():
        if token != "[PAD]":
            assert np.array_equal(old[table][place].numpy(), new[table][now[token]].numpy()), token


def test_a_new_item_begins_as_its_neighbours_where_it_is_an_entity(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts = split_pairs(*block_pairs())
    known = [np.array([not item.endswith("05") for item in items]) for _, items in parts]
    before = tuple((users[kept], items[kept]) for (users, items), kept in zip(parts, known, strict=True))
    first = train("CKE", write_facts("a", in_advance=True, parts=before), dataset=FACTS, **PLAIN)
    now = write_facts("b", in_advance=True, parts=parts)
    train("CKE", now, dataset=FACTS, **PLAIN, epochs=0, init_from=str(first.folder))
    assert re.search(r"entity_id: \d+ matched, \d+ new \(.*?\), [1-9]\d* of them begin as the mean", caplog.text)


def test_a_warm_start_with_other_relations_is_refused() -> None:
    first = train("CKE", write_facts(), dataset=FACTS, **PLAIN)
    file = Path("data/facts/facts.kg")
    head, *facts = file.read_text().splitlines()
    file.write_text("\n".join([head, *facts[::-1], ""]))
    with pytest.raises(ConfigError, match="have other relations, or have them in another order"):
        train("CKE", first.config.portable(), dataset=FACTS, init_from=str(first.folder))


def test_a_refit_trains_on_train_and_validation_with_the_same_facts() -> None:
    keys = write_facts(in_advance=True)
    run = train("KGAT", keys, dataset=FACTS, refit=1)
    parts = [observed(loader._dataset) for loader in (run.data.train_loader, run.data.test_loader)]
    assert used_pairs(row_loader(run.data.train_loader)._sampler) == parts[0]
    assert len(parts[0]) == run.result["refit"]["train_pairs"]
    assert used_pairs(run.data.test_loader._sampler) == parts[0] | parts[1]
    assert load_run(run.folder, device="cpu").refit


def test_what_a_knowledge_model_recommends_is_explained() -> None:
    run = train("KGAT", write_facts(), dataset=FACTS, dtlns_judge="structural")
    loaded = load_run(run.folder, device="cpu")
    user = str(loaded.users[0])
    reasons = Explainer(loaded).explain(user, k=2)
    assert len(reasons.items) == 2
