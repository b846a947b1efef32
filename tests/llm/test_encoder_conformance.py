"""Built-in encoders pass the checks that are given to authors of others, and each check finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_server import Embedder
from pydantic import Field
from tiny_model import save_random_llama

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.conformance import ENCODER_CHECKS, TEXTWISE_ENCODER_CHECKS, ConformanceError, encoders
from recbole_dtlns.conformance.blocks import block_interactions
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.text.contract import Encoder
from recbole_dtlns.text.given_vectors import GivenVectors
from recbole_dtlns.text.openai_encoder import OpenAIEncoder
from recbole_dtlns.text.table import ENCODERS
from recbole_dtlns.text.tfidf import TFIDF
from recbole_dtlns.text.transformers_encoder import TransformersEncoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("llama"), context=64, layers=1)


def by_name(check: Callable[..., Any]) -> str:
    return check.__name__


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=by_name)
def test_tfidf_conforms(check: Callable[..., None]) -> None:
    check(lambda **fields: TFIDF(**{"dim": 8, **fields}))


@pytest.mark.parametrize("check", TEXTWISE_ENCODER_CHECKS, ids=by_name)
def test_a_model_in_this_process_conforms(check: Callable[..., None], model: Path) -> None:
    check(lambda **fields: TransformersEncoder(**{"model": str(model), "batch_size": 4, **fields}))


@pytest.fixture
def server() -> Iterator[Embedder]:
    with Embedder() as running:
        yield running


@pytest.mark.parametrize("check", TEXTWISE_ENCODER_CHECKS, ids=by_name)
def test_a_server_conforms(check: Callable[..., None], server: Embedder) -> None:
    check(lambda **fields: OpenAIEncoder(**{"model": "m", "base_url": server.url, "retries": 0, **fields}))


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=by_name)
def test_given_vectors_conform(check: Callable[..., None]) -> None:
    tokens = block_interactions(blocks=2, users=4, items=8, missing=2).item_tokens
    np.save("v.npy", np.arange(3.0 * len(tokens)).reshape(-1, 3))
    Path("ids.txt").write_text("\n".join(tokens))
    check(lambda **fields: GivenVectors(**{"file": "v.npy", "ids": "ids.txt", **fields}))


def test_every_built_in_encoder_is_checked() -> None:
    """vllm's vectors are held against those of transformers, where there is a vLLM."""
    assert set(ENCODERS.names()) == {"tfidf", "transformers", "vllm", "openai", "file"}


class Lengths(Encoder):
    """An encoder of somebody else's, whole."""

    class Config(ComponentConfig):
        """Its settings."""

        power: float = Field(0.5, gt=0)
        """Of a text's length."""

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"encoder": "lengths", "power": self.config.power}

    def encode(self, train: TrainInteractions) -> np.ndarray:
        texts = train.content.texts if train.content else ()
        rows = [[len(text) ** self.config.power, sum(map(ord, text)) ** self.config.power] for text in texts]
        return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("check", TEXTWISE_ENCODER_CHECKS, ids=by_name)
def test_an_encoder_of_few_lines_conforms(check: Callable[..., None]) -> None:
    check(Lengths)


class Doubles(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        return super().encode(train).astype(np.float64)


class SpeaksForTheSilent(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        return super().encode(train) + 1


class OwnDice(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        found = super().encode(train)
        return (found * np.random.default_rng().random(found.shape)).astype(np.float32)


class ByPlace(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        return super().encode(train) * np.arange(train.n_items, dtype=np.float32)[:, None]


class Popular(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        return super().encode(train) * np.asarray(train.matrix.sum(axis=0)).ravel()[:, None]


class Scribbles(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        train.matrix.data *= 2
        return super().encode(train)


class Overflows(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        found = super().encode(train)
        found[found > 100] = np.inf
        return found


class HidesASetting(Lengths):
    def inputs(self) -> dict[str, Any]:
        return {"encoder": "lengths"}


class LooksAround(Lengths):
    def encode(self, train: TrainInteractions) -> np.ndarray:
        found = super().encode(train)
        return found / found.sum()


class PutsOthersElsewhere(Lengths):
    def encode_others(self, train: TrainInteractions, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (Doubles, encoders.gives_a_finite_vector_of_every_item, "float64, not float32"),
        (SpeaksForTheSilent, encoders.gives_a_finite_vector_of_every_item, "says nothing has a vector"),
        (OwnDice, encoders.is_encoded_twice_alike, "other vectors the second time"),
        (ByPlace, encoders.equal_texts_have_equal_vectors, "say the same have other vectors"),
        (Popular, encoders.knows_nothing_of_pairs, "depend on who has which item"),
        (Scribbles, encoders.leaves_what_items_say_alone, "was written to"),
        (Overflows, encoders.survives_any_text, "an odd text holds NaN or infinity"),
        (HidesASetting, encoders.inputs_tell_vectors_apart, "the inputs do not tell"),
        (PutsOthersElsewhere, encoders.puts_other_texts_where_items_say_the_same, "a text has another vector than"),
        (LooksAround, encoders.a_text_has_one_vector_in_any_company, "alone has another vector"),
    ],
)
def test_broken_encoders_are_found(broken: type[Encoder], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


def test_every_check_can_fail() -> None:
    """The list above leaves none out."""
    broken = next(mark for mark in test_broken_encoders_are_found.pytestmark if mark.name == "parametrize").args[1]
    assert {check for _, check, _ in broken} == set(TEXTWISE_ENCODER_CHECKS)


def test_content_is_shared_by_those_who_read_it() -> None:
    """Vectors are made once, when they are first looked at."""
    made: list[int] = []
    content = ItemContent(("a",), encode=lambda: made.append(1) or np.ones((1, 1), np.float32))
    assert not made
    assert content.vectors is content.vectors
    assert made == [1]
