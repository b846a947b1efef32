"""What items say in real runs: read from the .item file, seen by who asks for it, and by no other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from block_data import block_pairs, split_pairs
from embedding_server import Embedder
from test_protocol_rule import artefact_files
from tiny_runs import QUICK, train, write_tiny

from recbole_dtlns import audit_judges, prepare_only
from recbole_dtlns.bridge import runner
from recbole_dtlns.bridge.data.dataloader import CANDIDATES
from recbole_dtlns.conformance.blocks import block_texts
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.preparation import Preparation

COUNCIL = {"dtlns_teachers": ["EASE", "ContentKNN"], "dtlns_text_fields": ["title"]}
EVERYTHING = {
    **COUNCIL,
    "dtlns_judge": "calibrated",
    "dtlns_judge_hide": 0.2,
    "dtlns_judge_reads_text": True,
    "dtlns_text_tree": True,
    "dtlns_code_field": "code",
    "dtlns_candidates": 8,
    "dtlns_text_tfidf_dim": 8,
}


def write_items(folder: str = "data", tokens: np.ndarray | None = None, without: tuple[str, ...] = ()) -> None:
    """The .item file of the block data; some items may say nothing."""
    tokens = np.unique(block_pairs()[1]) if tokens is None else tokens
    rows = [
        f"{token}\t{'' if token in without else text}\t{token[1]}-{number % 3}"
        for number, (token, text) in enumerate(zip(tokens.tolist(), block_texts(tokens), strict=True))
    ]
    Path(folder, "tiny", "tiny.item").write_text(
        "item_id:token\ttitle:token_seq\tcode:token\n" + "\n".join(rows) + "\n"
    )


@pytest.fixture
def told(tiny: dict[str, Any]) -> dict[str, Any]:
    """Config keys of the block data with an .item file."""
    write_items()
    return tiny


def prepared(keys: dict[str, Any], **settings: Any) -> Preparation:
    found: Guidance | None = prepare_only("BPR", "tiny", config_dict={**QUICK, **keys, **settings})
    assert isinstance(found, Preparation)
    return found


def test_every_use_of_text_in_one_run(told: dict[str, Any]) -> None:
    run = train("Council", told, **EVERYTHING)
    assert run.preparation is not None
    done = run.preparation
    assert list(done.views) == ["structure", "semantic", "text", "codes"]
    assert {"text", "text tree", "code tree", "teacher ContentKNN"} <= done.artefacts.keys()
    assert "text            computed  tfidf: 8 dimensions of 80 items" in done.summary()
    assert run.result["test_result"]["recall@10"] > 0.5


def test_artefacts_are_byte_identical_when_every_evaluation_pair_is_replaced() -> None:
    """Texts of items that occur in validation or test alone are not looked at, whatever they say."""
    train_part, valid, test = split_pairs(*block_pairs())
    new_valid = (np.append(test[0], ["a-new-user", "u0-00"]), np.append(test[1], ["i1-01", "i9-99"]))
    new_test = (np.append(valid[0][::-1], "zz-new-user"), np.append(valid[1], "i8-88"))
    tokens = np.unique(block_pairs()[1])
    for name, parts, more in (
        ("first", (train_part, valid, test), []),
        ("second", (train_part, new_valid, new_test), ["i9-99", "i8-88"]),
    ):
        keys = write_tiny(name, parts)
        write_items(name, np.append(tokens, more))
        train("Council", keys, **EVERYTHING, dtlns_cache_dir=f"cache-{name}")
    files = artefact_files("cache-first")
    assert {"text", "text-tree", "code-tree", "teacher-ContentKNN", "council", "verdicts"} <= {
        Path(name).parent.name for name in files
    }
    assert files == artefact_files("cache-second")


def test_artefacts_follow_the_texts_where_they_are_read(told: dict[str, Any]) -> None:
    """The counterpart; and who reads no text is not made again."""
    prepared(told, **EVERYTHING)
    before = artefact_files("cache")
    write_items(without=("i0-00",))
    prepared(told, **EVERYTHING)
    made = [Path(name).parent.name for name in artefact_files("cache").keys() - before.keys()]
    assert {"text", "text-tree", "teacher-ContentKNN", "council", "verdicts"} <= set(made)
    assert not {"teacher-EASE", "structure", "structure-tree", "semantic-tree", "code-tree"} & set(made)


def test_texts_that_nothing_reads_change_nothing(told: dict[str, Any]) -> None:
    prepared(told)
    before = artefact_files("cache")
    assert "text" not in prepared(told, dtlns_text_fields=["title"]).artefacts
    assert artefact_files("cache") == before


def test_items_without_text_are_named_and_stay_in_use(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    write_items(without=("i0-00", "i1-05"))
    with caplog.at_level(logging.INFO):
        run = train("Council", tiny, **EVERYTHING)
    assert "2 of 80 train items have no text: i0-00, i1-05" in caplog.text
    assert run.preparation is not None
    assert "2 have none" in run.preparation.summary()
    tokens = run.preparation.train.item_tokens.tolist()
    assert tokens.index("i0-00") in run.preparation.candidates.items


WITHOUT_WORK = {
    "a field that is not there": (
        {"dtlns_text_fields": ["titel"]},
        DataError,
        r"tiny\.item has no field titel; it has title, code.*Did you mean 'title'",
    ),
    "a code field that is not there": ({"dtlns_code_field": "cod"}, DataError, "no field cod; it has title, code"),
    "ContentKNN without text": ({"dtlns_teacher": "ContentKNN"}, ConfigError, "dtlns_teacher: ContentKNN reads"),
    "a text tree without text": ({"dtlns_text_tree": True}, ConfigError, "dtlns_text_tree reads what items say"),
    "a judge without text": ({"dtlns_judge_reads_text": True}, ConfigError, "dtlns_judge_reads_text reads"),
    "an unknown encoder": ({"dtlns_text_encoder": "tfid"}, ConfigError, "unknown text encoder 'tfid'.*'tfidf'"),
    "a weight of a tree that is not grown": (
        {"dtlns_text_fields": ["title"], "dtlns_alpha_text": 0.2},
        ConfigError,
        "dtlns_alpha_text weighs the text tree",
    ),
    "candidates from a tree that is not grown": (
        {"dtlns_text_fields": ["title"], "dtlns_sampler": "dns", "dtlns_pool": "tree", "dtlns_pool_tree": "text"},
        ConfigError,
        "dtlns_pool_tree: text draws from the text tree",
    ),
    "a prompt that shows text without text": (
        {"dtlns_judge": "llm", "dtlns_judge_model": "m", "dtlns_judge_prompt": "pair_text"},
        ConfigError,
        "dtlns_judge_prompt: pair_text shows what items say",
    ),
    "an encoder without its model": (
        {"dtlns_text_fields": ["title"], "dtlns_text_encoder": "openai"},
        ConfigError,
        "openai needs dtlns_text_model",
    ),
    "a template of other fields": (
        {"dtlns_text_fields": ["title"], "dtlns_text_template": "{code}"},
        ConfigError,
        "dtlns_text_template names {code}",
    ),
    "no file of vectors": (
        {"dtlns_text_encoder": "file", "dtlns_text_file": "gone.parquet", "dtlns_teacher": "ContentKNN"},
        DataError,
        r"cannot read the text vectors in gone\.parquet",
    ),
}


@pytest.mark.parametrize("what", WITHOUT_WORK)
def test_what_cannot_work_stops_before_any_work(what: str, told: dict[str, Any]) -> None:
    settings, error, message = WITHOUT_WORK[what]
    with pytest.raises(error, match=message):
        prepared(told, **settings)
    assert artefact_files("cache") == {}


def test_a_data_set_without_an_item_file_is_named(tiny: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"tiny\.item does not exist"):
        prepared(tiny, dtlns_text_fields=["title"])


def test_a_field_that_is_empty_everywhere_is_named(tiny: dict[str, Any]) -> None:
    write_items(without=tuple(np.unique(block_pairs()[1]).tolist()))
    with pytest.raises(DataError, match="title hold no text for any of 80 train items"):
        prepared(tiny, **COUNCIL)


def test_given_vectors_need_no_text(told: dict[str, Any]) -> None:
    tokens = np.unique(block_pairs()[1])
    np.save("v.npy", np.eye(4)[[int(token[1]) for token in tokens]])
    Path("ids.txt").write_text("\n".join(tokens))
    given = {"dtlns_text_encoder": "file", "dtlns_text_file": "v.npy", "dtlns_text_ids": "ids.txt"}
    done = prepared(told, dtlns_teacher="ContentKNN", dtlns_candidates=3, **given)
    blocks = [tokens[0][1] for tokens in done.train.item_tokens[done.candidates.items].reshape(-1, 1)]
    users = [token[1] for token in done.train.user_tokens[done.candidates.users]]
    assert blocks == users


def test_given_vectors_are_looked_into_before_the_data_are_loaded(told: dict[str, Any]) -> None:
    np.save("v.npy", np.ones((3, 2)))
    Path("ids.txt").write_text("one\ntwo")
    given = {"dtlns_text_encoder": "file", "dtlns_text_file": "v.npy", "dtlns_text_ids": "ids.txt"}
    with (
        mock.patch.object(runner, "load_data", side_effect=AssertionError("data were loaded")),
        pytest.raises(DataError, match=r"v\.npy has 3 vectors, and there are 2 ids of them"),
    ):
        prepared(told, dtlns_teacher="ContentKNN", **given)


def test_ml_100k_has_titles_and_genres() -> None:
    keys = {"dtlns_text_fields": "movie_title,class", "dtlns_teacher": "ContentKNN", "dtlns_candidates": 5}
    keys |= {"user_inter_num_interval": "[0,40]"}
    found = prepare_only("BPR", "ml-100k", config_dict={**QUICK, **keys})
    assert isinstance(found, Preparation)
    assert found.train.content is not None
    assert "Toy Story. Animation Children's Comedy" in found.train.content.texts
    assert found.artefacts["text"].facts["without"] == 0


def test_hard_negatives_lie_close_in_the_text_tree_where_it_weighs(told: dict[str, Any]) -> None:
    """All else being equal: with a weight that outdoes the scores, negatives come from the positive's leaf."""
    alone = {"dtlns_alpha_structure": 0.0, "dtlns_alpha_semantic": 0.0, "dtlns_relabel_exclude": False}
    grown = {"dtlns_text_fields": ["title"], "dtlns_text_tree": True, "dtlns_text_tfidf_dim": 8}
    losses = [
        train("BPR", told, **alone, **grown, dtlns_alpha_text=weight).trainer.train_loss_dict[0]
        for weight in (0.0, 50.0)
    ]
    assert losses[0] != losses[1]
    without = train("BPR", told, **alone).trainer.train_loss_dict[0]
    assert losses[0] == without


def test_candidates_come_from_the_positives_part_of_the_text_tree(told: dict[str, Any]) -> None:
    """Items of a block say alike, so their first code is one; a uniform draw is in it one time in ten or less."""
    grown = {"dtlns_text_fields": ["title"], "dtlns_text_tree": True, "dtlns_text_tfidf_dim": 8}
    near = []
    for share in (1.0, 0.0):
        pool = {
            "dtlns_pool": "tree",
            "dtlns_pool_tree": "text",
            "dtlns_pool_tree_share": share,
            "dtlns_pool_depths": [1],
        }
        settings = {"dtlns_sampler": "dns", "dtlns_relabel_add": False, "dtlns_relabel_exclude": False}
        run = train("BPR", told, **grown, **pool, **settings)
        batches = list(run.data.train_loader)
        positives = torch.cat([batch["item_id"] for batch in batches]).numpy()
        candidates = torch.cat([batch[CANDIDATES] for batch in batches]).numpy()
        blocks = np.array([-1, *(int(token[1]) for token in run.train.field2id_token["item_id"][1:])])
        near.append((blocks[candidates] == blocks[positives][:, None]).mean())
    assert near[0] == 1 and near[1] < 0.2


def test_a_server_is_asked_for_every_text_once_whatever_runs_and_seeds_there_are(told: dict[str, Any]) -> None:
    with Embedder() as server:
        given = {
            **COUNCIL,
            "dtlns_text_encoder": "openai",
            "dtlns_text_model": "m",
            "dtlns_text_base_url": server.url,
            "dtlns_judge": "calibrated",
            "dtlns_judge_hide": 0.2,
        }
        done = prepared(told, **given)
        assert done.train.content is not None
        assert sorted(server.texts) == sorted(done.train.content.texts)
        prepared(told, **given, dtlns_seed=7)
        write_items(without=("i0-00",))
        prepared(told, **given)
    assert len(server.texts) == len(set(server.texts)) == 80


# --- codes that may know the train pairs ---


def test_codes_that_may_know_hidden_pairs_are_not_learnt_from(told: dict[str, Any]) -> None:
    rows = prepared(told, **{**EVERYTHING, "dtlns_paths_know_train": True}).artefacts["verdicts"].facts
    assert rows["trees_not_read"] == ["codes"]
    rows = prepared(told, **{**EVERYTHING, "dtlns_paths_know_train": False}).artefacts["verdicts"].facts
    assert "trees_not_read" not in rows


# --- audit ---


def test_an_audit_says_what_text_adds(told: dict[str, Any]) -> None:
    settings = {**QUICK, **told, **EVERYTHING, "dtlns_code_field": None}
    scores = audit_judges(["calibrated"], "BPR", "tiny", config_dict=settings).scores
    assert {"calibrated", "calibrated, without text", "calibrated, shuffled text"} <= scores.keys()


def test_an_audit_without_text_has_the_rows_it_had(tiny: dict[str, Any]) -> None:
    settings = {**QUICK, **tiny, "dtlns_teachers": ["EASE", "ItemKNN"], "dtlns_judge_hide": 0.2}
    scores = audit_judges(["calibrated"], "BPR", "tiny", config_dict=settings).scores
    assert list(scores) == ["calibrated", "calibrated, without EASE", "calibrated, without ItemKNN"]
