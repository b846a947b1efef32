"""A real vLLM encodes as transformers does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import save_random_llama

from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.text.contract import gathered
from recbole_dtlns.text.transformers_encoder import TransformersEncoder
from recbole_dtlns.text.vllm_encoder import VLLMEncoder

SMALL = {"enforce_eager": True, "max_model_len": 64, "dtype": "float32", "max_num_seqs": 16}
TEXTS = ["yes", "no no items", "Answer with one word", "A tree, a tree", "items of two trees", "yes " * 100]


def test_an_adapter_is_refused() -> None:
    Path("adapter").mkdir()
    Path("adapter/adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    with pytest.raises(ConfigError, match=r"takes whole models, and .*adapter is an adapter"):
        VLLMEncoder(model="adapter")


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # vLLM's own warnings are not ours
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_vectors_are_those_of_transformers(pooling: str, needs_vllm: None) -> None:
    """With a prompt before every text, not scaled, and a text beyond the context cut."""
    model = str(save_random_llama("llama", context=64))
    told = {"model": model, "pooling": pooling, "prompt": "no "}
    encoder = VLLMEncoder(**told, engine_args=SMALL)
    with encoder.start() as running:
        found = gathered(running.encode(TEXTS), len(TEXTS))
        assert running.truncated == 1 and running.tokens > 64
    with TransformersEncoder(**told).start() as running:
        due = gathered(running.encode(TEXTS), len(TEXTS))
    assert np.abs(np.linalg.norm(due, axis=1) - 1).min() > 0.1, "vectors of length 1 would hide a scaling"
    np.testing.assert_allclose(found, due, atol=2e-3)
    assert encoder.token_counter()(TEXTS) == running.tokens


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_is_none_is_named(needs_vllm: None) -> None:
    with pytest.raises(EngineError, match="nowhere"), VLLMEncoder(model="nowhere").start():
        pass
