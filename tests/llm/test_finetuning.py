"""Collaborative fine-tuning of a real causal model, small enough that the tests make it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_data import block_pairs, split_pairs
from safetensors.torch import load_file
from test_generating_commands import RUN, write_run
from tiny_model import save_random_llama

from recbole_dtlns import prepare_only
from recbole_dtlns.commands.command_line import main
from recbole_dtlns.conformance.blocks import block_of
from recbole_dtlns.errors import ArtefactError, ConfigError, EngineError
from recbole_dtlns.generation import finetuning
from recbole_dtlns.generation.adapter_files import Checkpoints
from recbole_dtlns.generation.finetuning import FineTuning, Rows
from recbole_dtlns.generation.hard_items import HardByPair
from recbole_dtlns.generation.in_batch_loss import in_batch_loss
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.preparation import Preparation
from recbole_dtlns.text.adapter_record import AdapterRecord
from recbole_dtlns.text.local_network import LocalNetwork
from recbole_dtlns.text.transformers_encoder import TransformersEncoder

QUICK: dict[str, Any] = {
    "dtlns_text_pooling": "last",
    "dtlns_judge": "always",
    "dtlns_hnlmrec_llm_history": 2,
    "dtlns_finetune_batch_size": 32,
    "dtlns_finetune_learning_rate": 3e-3,
    "dtlns_finetune_rank": 8,
    "dtlns_finetune_alpha": 16.0,
    "dtlns_finetune_max_steps": 4,
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_llama(tmp_path_factory.mktemp("llama"), layers=1))


@pytest.fixture(scope="module")
def base(llama: str) -> Iterator[LocalNetwork]:
    yield LocalNetwork.load(llama, None, {}, "--base")


def tune(llama: str, output: str = "adapter", *arguments: str) -> int:
    return main(["finetune", f"--base={llama}", f"--output={output}", *RUN, *arguments])


def adapter_weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "adapter_model.safetensors")


# --- the loss ---


def test_the_loss_is_that_of_plain_python() -> None:
    random = np.random.default_rng(0)
    query, wanted, away = (random.normal(size=(5, 3)) for _ in range(3))

    def cosine(first: np.ndarray, second: np.ndarray) -> float:
        return float(first @ second / np.sqrt((first @ first) * (second @ second)))

    due = [
        np.log1p(np.exp(-(cosine(query[i], wanted[i]) - cosine(query[i], away[j])) / 0.2))
        for i in range(5)
        for j in range(5)
    ]
    found = in_batch_loss(*(torch.from_numpy(rows) for rows in (query, wanted, away)), 0.2)
    assert float(found) == pytest.approx(np.mean(due))


def test_every_pair_is_in_one_batch_of_an_epoch_and_epochs_differ() -> None:
    tuning = FineTuning(batch_size=4, epochs=2)
    assert tuning.steps(10) == 6 and tuning.steps(9) == 4 and FineTuning(max_steps=3).steps(1000) == 3
    batches = [tuning.batch(10, step) for step in range(6)]
    assert [len(batch) for batch in batches] == [4, 4, 2] * 2
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(10))
    assert np.concatenate(batches[:3]).tolist() != np.concatenate(batches[3:]).tolist()


# --- learning ---


def test_a_model_learns_to_encode_pairs_as_their_hard_items(llama: str) -> None:
    """Before, a query lies anywhere; after, nearer to the words of its hard items than to those that were chosen."""
    texts = [f"{number} {number} {number}" for number in range(10)]
    positives = np.arange(200) % 10
    hard = ((positives + 5) % 10)[:, None].astype(np.int32)
    rows = Rows(lambda pair: f"no {positives[pair]}", texts, positives, HardByPair(np.arange(200), hard))
    tuning = FineTuning(rank=16, alpha=32.0, learning_rate=5e-3, batch_size=20, epochs=20, dropout=0.0)
    loaded = LocalNetwork.load(llama, None, {}, "--base")
    network, losses = tuning.train(loaded, rows, "last", Path("out"), {})
    assert len(losses) == 200 and np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    tuned = LocalNetwork(network, loaded.tokenizer, loaded.context)
    with torch.no_grad():
        ids, _ = tuned.ids([*(rows.query(pair) for pair in range(10)), *texts])
        vectors = unit_rows(tuned.vectors(ids, "last", torch.device("cpu")).numpy())
    near = vectors[:10] @ vectors[10:].T
    margin = near[np.arange(10), hard[:10, 0]] - near[np.arange(10), positives[:10]]
    assert margin.mean() > 0.2 and (margin > 0).mean() >= 0.7


def test_a_stopped_training_ends_as_if_it_had_not_been_stopped(
    llama: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(**{**QUICK, "dtlns_finetune_save_steps": 2, "dtlns_finetune_max_steps": 7})
    assert tune(llama, "whole") == 0
    assert "7 steps over 641 of 641 train pairs; loss" in capsys.readouterr().out

    class Killed(BaseException):
        pass

    steps = iter(range(5))
    drawn = finetuning._random_of

    @contextmanager
    def killed(*arguments: Any) -> Iterator[None]:
        if next(steps, None) is None:
            raise Killed
        with drawn(*arguments):
            yield

    with monkeypatch.context() as patched:
        patched.setattr(finetuning, "_random_of", killed)
        with pytest.raises(Killed):
            tune(llama, "parts")
    assert not Path("parts/adapter_model.safetensors").exists()
    assert len(json.loads(Path("parts/checkpoint/state.json").read_text())["losses"]) == 4
    assert tune(llama, "parts") == 0
    whole, parts = adapter_weights("whole"), adapter_weights("parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    assert Path("whole/finetuned.json").read_bytes() == Path("parts/finetuned.json").read_bytes()
    assert tune(llama, "parts", "--dtlns_finetune_learning_rate=0.1") == 2
    assert "checkpoint of another fine-tuning (learning_rate differ)" in capsys.readouterr().err


def test_an_adapter_is_byte_identical_when_every_evaluation_pair_is_replaced(llama: str) -> None:
    part, valid, test = split_pairs(*block_pairs())
    new_valid = (np.append(test[0], ["a-new-user", "u0-00"]), np.append(test[1], ["i1-01", "i9-99"]))
    new_test = (np.append(valid[0][::-1], "zz-new-user"), np.append(valid[1], "i8-88"))
    for name, parts in (("first", (part, valid, test)), ("second", (part, new_valid, new_test))):
        write_run(name, parts, **QUICK, dtlns_cache_dir=f"cache-{name}")
        assert tune(llama, f"adapter-{name}") == 0
    names = sorted(path.name for path in Path("adapter-first").iterdir() if path.is_file())
    assert {"adapter_config.json", "adapter_model.safetensors", "finetuned.json", "query.yaml"} <= set(names)
    for name in names:
        assert Path("adapter-first", name).read_bytes() == Path("adapter-second", name).read_bytes(), name


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"gradient_checkpointing": True}])
def test_a_training_may_spare_memory(settings: dict[str, Any], llama: str) -> None:
    rows = Rows(str, ["1", "2"], np.array([0, 1]), HardByPair(np.arange(2), np.array([[1], [0]], dtype=np.int32)))
    told = {"rank": 2, "batch_size": 2, "epochs": 3, "dropout": 0.0, "learning_rate": 1e-2}
    losses = [
        FineTuning(**told, **one).train(LocalNetwork.load(llama, None, {}, "--base"), rows, "last", Path(name), {})[1]
        for name, one in (("plain", {}), ("spared", settings))
    ]
    assert np.isfinite(losses).all() and losses[1] == pytest.approx(losses[0], rel=0.1)
    assert (losses[0] == losses[1]) == ("precision" not in settings)


# --- use ---


def use(adapter: str, **settings: Any) -> dict[str, Any]:
    vector = {"dtlns_hnlmrec_llm_form": "vector", "dtlns_text_encoder": "transformers", "dtlns_text_model": adapter}
    return write_run(str(settings.pop("folder", "data")), settings.pop("parts", None), **QUICK, **vector, **settings)


def test_an_adapter_moves_to_another_data_set(llama: str, caplog: pytest.LogCaptureFixture) -> None:
    """Same template and pooling, items and queries in one space, another than before."""
    write_run(**QUICK)
    assert tune(llama) == 0
    record = AdapterRecord.of("adapter")
    assert record is not None and (record.pooling, record.base) == ("last", llama)
    others = split_pairs(*block_pairs(users=9, items=15, seed=5))
    done = prepare_only("BPR", "tiny", config_dict=use("adapter", folder="other", parts=others))
    plain = prepare_only("BPR", "tiny", config_dict=use(llama, folder="plain", parts=others))
    assert isinstance(done, Preparation) and isinstance(plain, Preparation)
    assert done.generated is not None and done.vectors is not None and plain.vectors is not None
    assert done.generated.dimension == done.vectors.shape[1] == 64
    assert not np.allclose(done.vectors, plain.vectors, atol=1e-3), "the adapter changes what is encoded"
    assert block_of(done.train.item_tokens).max() == 3
    assert "was trained on profiles by" not in caplog.text
    with caplog.at_level(logging.WARNING):
        prepare_only("BPR", "tiny", config_dict={**use("adapter"), "dtlns_hnlmrec_llm_history": 3})
    assert "was trained on profiles by {'history': 2" in caplog.text


def test_an_adapter_is_used_as_it_was_trained(llama: str) -> None:
    write_run(**QUICK)
    assert tune(llama) == 0
    with pytest.raises(ConfigError, match="was trained with dtlns_text_pooling: last"):
        prepare_only("BPR", "tiny", config_dict={**use("adapter"), "dtlns_text_pooling": "mean"})
    Path("own.yaml").write_text("purpose: query\nuser: '{history} then {item}'\n")
    own = {"dtlns_hnlmrec_llm_query": "own.yaml"}
    with pytest.raises(ConfigError, match=r"queries of another template: set .*llm_query: .*adapter/query\.yaml"):
        prepare_only("BPR", "tiny", config_dict={**use("adapter"), **own})
    assert prepare_only("BPR", "tiny", config_dict={**use("adapter"), "dtlns_hnlmrec_llm_query": "adapter/query.yaml"})
    assert tune("adapter", "another") == 2, "an adapter is no base"
    revision = TransformersEncoder(model="adapter", pooling="last").inputs()["revision"]
    config = json.loads(Path("adapter/adapter_config.json").read_text())
    Path("adapter/adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "nowhere"}))
    assert TransformersEncoder(model="adapter", pooling="last").inputs()["revision"] != revision
    with (
        pytest.raises(EngineError, match="an adapter of 'nowhere'"),
        TransformersEncoder(model="adapter", pooling="last").start(),
    ):
        pass


# --- before anything is done, and what cannot work ---


def test_a_dry_run_counts_and_writes_nothing(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(**QUICK)
    assert tune(llama, "adapter", "--dry-run", "--dtlns_finetune_max_steps=50") == 0
    said = capsys.readouterr().out
    assert "641 train pairs, at most 50 steps; about" in said and "A user likes:" in said
    assert not Path("adapter").exists() and not Path("cache").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dtlns_text_pooling=cls"], "that of a causal model sees no other: set it to last"),
        (["--dtlns_finetune_targets=[nope]"], "names nope, and the model has no such layer; it has"),
        (["--dtlns_text_fields=[]", "--dtlns_method=dtlns"], "set dtlns_text_fields"),
        (["--dtlns_hnlmrec_learn_from=teacher"], "and 0 train pairs have one: raise dtlns_candidates"),
        (["--dtlns_finetune_batch_size=1"], "dtlns_finetune_batch_size"),
    ],
)
def test_what_cannot_work_is_refused(
    arguments: list[str], message: str, llama: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(**QUICK)
    assert tune(llama, "adapter", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(llama: str) -> None:
    rows = Rows(str, ["1", "2"], np.array([0, 1]), HardByPair(np.arange(2), np.array([[1], [0]], dtype=np.int32)))
    tuning = FineTuning(rank=2, batch_size=2, epochs=1)
    tuning.train(LocalNetwork.load(llama, None, {}, "--base"), rows, "last", Path("out"), {})
    Path("out/checkpoint/training.safetensors").write_bytes(b"torn")
    with pytest.raises(ArtefactError, match=r"is damaged .* delete it to begin anew"):
        tuning.train(LocalNetwork.load(llama, None, {}, "--base"), rows, "last", Path("out"), {})
    Path("out/checkpoint").rename("out/gone")
    assert Checkpoints(Path("out"), {}).restore(None, None) == []  # type: ignore[arg-type]
