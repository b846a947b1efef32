"""A real model in this process as an encoder, small enough that the tests make it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_data import block_interactions
from tiny_model import save_random_llama, save_tokenizer
from transformers import BertConfig, BertModel

from recbole_dtlns.conformance.blocks import block_texts
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.errors import EngineError
from recbole_dtlns.text.kept_vectors import encoded
from recbole_dtlns.text.local_network import pooled
from recbole_dtlns.text.transformers_encoder import TransformersEncoder

TEXTS = ["yes", "no no items", "Answer with one word", "A tree, a tree", "items of two trees"]
ROOT = Path("kept")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("llama"), context=16)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without the weights on top that nothing here looks at."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **shape)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def made(folder: Path, texts: Sequence[str] = TEXTS, **fields: Any) -> np.ndarray:
    return encoded(TransformersEncoder(model=str(folder), **fields), texts, Path("kept", str(sorted(fields.items()))))


@pytest.mark.parametrize("model", ["llama", "bert"])
@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_a_text_has_one_vector_in_any_company(model: str, pooling: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    together = made(folder, pooling=pooling, batch_size=4)
    alone = np.concatenate([made(folder, [text], pooling=pooling, batch_size=1) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert together.shape == (len(TEXTS), {"llama": 64, "bert": 32}[model])
    assert len(np.unique(together.round(4), axis=0)) >= (2 if pooling == "cls" else len(TEXTS))


def test_pooling_looks_at_tokens_and_never_at_padding() -> None:
    """Known answers."""
    states = torch.tensor([[[1.0], [3.0], [99.0]], [[2.0], [4.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pooled(states, mask, "mean").tolist() == [[2.0], [4.0]]
    assert pooled(states, mask, "last").tolist() == [[3.0], [6.0]]
    assert pooled(states, mask, "cls").tolist() == [[1.0], [2.0]]


def test_what_is_too_long_is_cut_and_counted(llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = made(llama, ["yes " * 1000, "no", "\u65e5\u672c " * 300])
    assert np.isfinite(found).all()
    assert "2 texts were cut" in caplog.text


def test_a_prompt_changes_vectors_and_what_they_are_kept_by(llama: Path) -> None:
    assert not np.allclose(made(llama), made(llama, prompt="no "))
    plain, prompted = (TransformersEncoder(model=str(llama), **fields) for fields in ({}, {"prompt": "no "}))
    assert plain.inputs() != prompted.inputs()


def test_a_model_trained_further_is_another(llama: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(llama, tmp_path / "copy"))
    before = TransformersEncoder(model=str(copy)).inputs()
    save_random_llama(copy, context=16, seed=1)
    assert TransformersEncoder(model=str(copy)).inputs() != before


def test_weights_that_are_not_there_are_no_random_ones(bert: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bert, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(EngineError, match="lacks weights"):
        made(copy)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineError, match=r"cannot load the model 'nowhere/model' \(dtlns_text_model\)"):
        encoded(TransformersEncoder(model="nowhere/model"), ["a"], ROOT)


def test_nothing_is_loaded_where_every_text_is_known(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(llama)
    monkeypatch.setattr(TransformersEncoder, "start", lambda self: pytest.fail("the model was loaded"))
    assert np.array_equal(made(llama, TEXTS[::-1]), first[::-1])


def test_the_encoder_alone_gives_what_the_kept_ones_are(llama: Path) -> None:
    train = block_interactions()
    train = replace(train, content=ItemContent(block_texts(train.item_tokens)))
    texts = train.content.texts if train.content else ()
    np.testing.assert_allclose(TransformersEncoder(model=str(llama)).encode(train), made(llama, texts), atol=1e-5)
