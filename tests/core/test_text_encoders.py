"""Encoders: texts to vectors, the same on every machine, and never made twice where that costs something."""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from block_data import block_interactions
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from threadpoolctl import threadpool_limits

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.errors import ArtefactError, ConfigError, ContractError, DataError, EngineError
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.text.contract import TextwiseEncoder, check_vectors
from recbole_dtlns.text.given_vectors import GivenVectors
from recbole_dtlns.text.kept_vectors import encoded
from recbole_dtlns.text.tfidf import TFIDF


def items_saying(*texts: str) -> TrainInteractions:
    tokens = np.array([f"i{number:03d}" for number in range(len(texts))])
    train = TrainInteractions.from_tokens(np.full(len(texts), "u"), tokens)
    return replace(train, content=ItemContent(texts))


def test_items_that_share_rare_words_are_near() -> None:
    vectors = unit_rows(TFIDF(dim=4).encode(items_saying("red lamp", "red lamp brass", "blue shoe", "blue shoe", "")))
    assert vectors[0] @ vectors[1] > 0.7 > 0.2 > vectors[0] @ vectors[2]
    assert vectors[2] @ vectors[3] == pytest.approx(1, abs=1e-5)
    assert not vectors[4].any()


@pytest.mark.parametrize("pieces", ["words", "letters"])
def test_products_of_vectors_are_those_of_weighed_counts(pieces: str) -> None:
    """From the definitions: 1 + log of the count, times log of how rare a piece is among the texts, to length 1."""
    texts = ("red lamp lamp lamp", "Red shoe", "shoe shoe", "", "lamp\u00e9")

    def pieces_of(text: str) -> Counter[str]:
        if pieces == "words":
            return Counter(text.lower().split())
        padded = [f" {word} " for word in text.lower().split()]
        return Counter(word[at : at + n] for word in padded for n in (3, 4) for at in range(len(word) - n + 1))

    counts = [pieces_of(text) for text in texts]
    known = sorted(set().union(*counts))
    rare = {piece: 1 + np.log((1 + len(texts)) / (1 + sum(piece in one for one in counts))) for piece in known}
    plain = np.array(
        [[(1 + np.log(one[piece])) * rare[piece] if piece in one else 0 for piece in known] for one in counts]
    )
    plain /= np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-9)
    vectors = TFIDF(dim=5, pieces=pieces).encode(items_saying(*texts))
    np.testing.assert_allclose(vectors @ vectors.T, plain @ plain.T, atol=1e-5)


def test_letters_find_other_forms_of_a_word_and_words_that_nothing_parts() -> None:
    texts = ("lamps", "lamp", "東京駅前書店", "東京駅前食堂", "shoe")
    words, letters = (
        unit_rows(TFIDF(dim=5, pieces=pieces).encode(items_saying(*texts))) for pieces in ("words", "letters")
    )
    for first, second in ((0, 1), (2, 3)):
        assert abs(words[first] @ words[second]) < 0.01
        assert letters[first] @ letters[second] > 0.2


def test_vectors_do_not_depend_on_the_number_of_threads() -> None:
    random = np.random.default_rng(0)
    words = [f"w{number}" for number in range(400)]
    train = items_saying(*(" ".join(random.choice(words, 12)) for _ in range(500)))
    found = []
    for threads in (1, 2, 8):
        with threadpool_limits(threads):
            found.append(TFIDF(dim=16).encode(train).tobytes())
    assert found[0] == found[1] == found[2]


def test_fewer_words_than_dimensions_leave_zeros() -> None:
    vectors = TFIDF(dim=16).encode(items_saying("a b", "b c", "c a"))
    assert vectors.shape == (3, 16)
    assert not vectors[:, 3:].any()


def test_texts_without_a_word_are_named() -> None:
    with pytest.raises(DataError, match="the 2 texts hold no word"):
        TFIDF().encode(items_saying("...", ""))


# --- vectors that somebody already has ---

VECTORS = np.arange(6, dtype=np.float64).reshape(3, 2) + 1
IDS = ["i1-01", "not in train", "i0-00"]


def write_npy() -> dict[str, Any]:
    np.save("v.npy", VECTORS)
    Path("ids.txt").write_text("\n".join(IDS) + "\n")
    return {"file": "v.npy", "ids": "ids.txt"}


def write_safetensors() -> dict[str, Any]:
    save_file({"vectors": VECTORS}, "v.safetensors")
    Path("ids.txt").write_text("\n".join(IDS))
    return {"file": "v.safetensors", "ids": "ids.txt"}


def write_parquet() -> dict[str, Any]:
    pd.DataFrame({"item_id": IDS, "vector": list(VECTORS)}).to_parquet("v.parquet")
    return {"file": "v.parquet"}


@pytest.mark.parametrize("write", [write_npy, write_safetensors, write_parquet])
def test_given_vectors_are_found_by_item(write: Any) -> None:
    train = block_interactions()
    found = GivenVectors(**write()).encode(train)
    tokens = train.item_tokens.tolist()
    assert found.dtype == np.float32
    assert found[tokens.index("i0-00")].tolist() == [5, 6]
    assert found[tokens.index("i1-01")].tolist() == [1, 2]
    assert np.count_nonzero(found.any(axis=1)) == 2


def test_other_content_is_another_encoder() -> None:
    before = GivenVectors(**write_npy()).inputs()
    np.save("v.npy", VECTORS + 1)
    assert GivenVectors(file="v.npy", ids="ids.txt").inputs() != before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "dtlns_text_file"),
        ({"file": "v.csv"}, "no .npy"),
        ({"file": "v.npy"}, "dtlns_text_ids"),
    ],
)
def test_given_vectors_need_a_file_and_ids(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GivenVectors(**fields)


@pytest.mark.parametrize("write", [write_npy, write_safetensors, write_parquet])
def test_files_are_looked_into_before_any_work(write: Any) -> None:
    encoder = GivenVectors(**write())
    encoder.check_files()
    with open(encoder.path, "r+b") as file:  # noqa: PTH123
        file.truncate(40)
    with pytest.raises(DataError, match="cannot read the text vectors"):
        encoder.check_files()


def test_vectors_of_zeros_are_counted_and_nothing_but_zeros_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    train = block_interactions()
    some = np.vstack([np.zeros((2, 2)), np.ones((1, 2))])
    damaged("v.npy", "i0-00\ni0-01\ni1-00", some).encode(train)
    assert "v.npy: the vectors of 2 of 3 items are all zeros: they count as items that have none" in caplog.text
    with pytest.raises(DataError, match="holds nothing but zeros"):
        damaged("v.npy", "i0-00\ni0-01\ni1-00", 0 * some).check_files()


def damaged(name: str, ids: str, vectors: np.ndarray) -> GivenVectors:
    np.save(name, vectors)
    Path("ids.txt").write_text(ids)
    return GivenVectors(file=name, ids="ids.txt")


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        ("i0-00\ni0-01", VECTORS, "3 vectors, and there are 2 ids"),
        ("a\nb\nc", VECTORS, "of none of the"),
        ("i0-00\ni0-00\nb", VECTORS, "several vectors of one item"),
        ("i0-00", np.array([[1, 2]]), "floats"),
        ("i0-00", np.array([1.0, 2.0]), "floats"),
    ],
)
def test_vectors_of_nothing_are_refused(ids: str, vectors: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        damaged("v.npy", ids, vectors).encode(block_interactions())


def test_a_file_that_is_none_is_named() -> None:
    Path("v.npy").write_bytes(b"\x93NUMPY garbage")
    Path("ids.txt").write_text("i0-00")
    with pytest.raises(DataError, match=r"cannot read the text vectors in v\.npy"):
        GivenVectors(file="v.npy", ids="ids.txt").encode(block_interactions())


def of_a_head(shape: str) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head


def archive() -> bytes:
    np.savez("v.npz", VECTORS)
    return Path("v.npz").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: b"", id="empty"),
        pytest.param(archive, id="archive"),
        pytest.param(lambda: b"PK\x03\x04 no archive", id="part of an archive"),
        pytest.param(lambda: of_a_head(f"(1{30 * '0'}, 2)"), id="too large"),
        pytest.param(lambda: of_a_head("(-5, 2)"), id="negative"),
        pytest.param(lambda: of_a_head("((1, 2"), id="open"),
        pytest.param(lambda: pickle.dumps(VECTORS), id="pickle"),
    ],
)
def test_what_is_no_array_is_named(content: Callable[[], bytes]) -> None:
    Path("v.npy").write_bytes(content())
    Path("ids.txt").write_text("i0-00")
    with pytest.raises(DataError, match=r"cannot read the text vectors in v\.npy"):
        GivenVectors(file="v.npy", ids="ids.txt").encode(block_interactions())


@pytest.mark.parametrize("vector", [1.0, None, "words"])
def test_a_column_that_holds_no_vectors_is_named(vector: object) -> None:
    pd.DataFrame({"item_id": ["i0-00", "b"], "vector": [vector, vector]}).to_parquet("v.parquet")
    with pytest.raises(DataError, match=r"v\.parquet, row 1: its vector is no list of numbers"):
        GivenVectors(file="v.parquet").encode(block_interactions())


def test_numbers_that_numpy_does_not_have_are_named() -> None:
    save_torch({"vectors": torch.ones(1, 2, dtype=torch.bfloat16)}, "v.safetensors")
    Path("ids.txt").write_text("i0-00")
    with pytest.raises(DataError, match=r"cannot read the text vectors in v\.safetensors.*bfloat16"):
        GivenVectors(file="v.safetensors", ids="ids.txt").encode(block_interactions())


# --- vectors that are kept text by text ---


class Counting(TextwiseEncoder):
    """An encoder that notes what it is asked, and may fail."""

    version = 1

    def __init__(self, name: str = "m", dim: int = 3, fails_after: int | None = None, answers_as: str | None = None):
        super().__init__()
        self.name, self.dim, self.fails_after, self.answered_by = name, dim, fails_after, answers_as
        self.asked: list[str] = []
        self.truncated = self.tokens = 0

    def inputs(self) -> dict[str, Any]:
        return {"model": self.name}

    @contextmanager
    def start(self) -> Iterator[Counting]:
        yield self

    def encode(self, texts: Sequence[str]) -> Any:  # type: ignore[override]
        if isinstance(texts, TrainInteractions):
            return super().encode(texts)
        return self._parts(texts)

    def _parts(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for place, text in reversed(list(enumerate(texts))):
            if self.fails_after is not None and len(self.asked) == self.fails_after:
                raise EngineError("the server is gone")
            self.asked.append(text)
            yield np.array([place]), np.full((1, self.dim), float(len(text)))


ROOT = Path("kept")


def test_a_text_is_encoded_once_however_often_it_stands_there() -> None:
    first = Counting()
    found = encoded(first, ["bb", "", "a", "bb"], ROOT)
    assert found[:, 0].tolist() == [2, 0, 1, 2]
    assert sorted(first.asked) == ["a", "bb"]
    again = Counting()
    assert encoded(again, ["a", "ccc", "bb"], ROOT)[:, 0].tolist() == [1, 3, 2]
    assert again.asked == ["ccc"]


def test_what_was_encoded_before_a_failure_is_kept() -> None:
    texts = ["a", "bb", "ccc", "dddd"]
    with pytest.raises(EngineError, match="gone"):
        encoded(Counting(fails_after=2), texts, ROOT)
    again = Counting()
    assert encoded(again, texts, ROOT)[:, 0].tolist() == [1, 2, 3, 4]
    assert sorted(again.asked) == ["a", "bb"]


def test_other_encoders_share_nothing() -> None:
    encoded(Counting(), ["a"], ROOT)
    other = Counting(name="another", dim=5)
    assert encoded(other, ["a"], ROOT).shape == (1, 5)
    assert other.asked == ["a"]


def test_a_model_that_changed_under_its_name_is_refused() -> None:
    encoded(Counting(), ["a"], ROOT)
    with pytest.raises(EngineError, match="vectors of 3 and 5 numbers"):
        encoded(Counting(dim=5), ["a", "bb"], ROOT)


def test_a_server_that_answers_as_another_model_is_refused() -> None:
    encoded(Counting(answers_as="m-1"), ["a"], ROOT)
    encoded(Counting(answers_as="m-1"), ["bb"], ROOT)
    with pytest.raises(EngineError, match="answered as 'm-2', and as 'm-1' before"):
        encoded(Counting(answers_as="m-2"), ["ccc"], ROOT)


def test_a_damaged_file_is_named_and_its_texts_are_encoded_again(caplog: pytest.LogCaptureFixture) -> None:
    encoded(Counting(), ["a"], ROOT)
    (file,) = ROOT.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="is damaged"):
        encoded(Counting(), ["a"], ROOT, refuse_damaged=True)
    again = Counting()
    with caplog.at_level(logging.WARNING):
        encoded(again, ["a"], ROOT)
    assert again.asked == ["a"]
    assert "is damaged" in caplog.text


def test_no_text_at_all_asks_nobody() -> None:
    silent = Counting(fails_after=0)
    assert not encoded(silent, ["", ""], ROOT).any()


class Twice(Counting):
    def _parts(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from super()._parts(texts)
        yield np.array([0]), np.zeros((1, self.dim))


class Forgets(Counting):
    def _parts(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from list(super()._parts(texts))[1:]


@pytest.mark.parametrize(("broken", "message"), [(Twice, "a text twice"), (Forgets, "no vector of 1 of 2 texts")])
def test_encoders_that_miscount_are_refused(broken: type[Counting], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        encoded(broken(), ["a", "bb"], ROOT)


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        (np.zeros((2, 3)), ContractError, r"the shape \(2, 3\)"),
        (np.zeros(3), ContractError, r"the shape \(3,\)"),
        (None, ContractError, "the shape None"),
        (np.array([[1.0], [np.nan], [2.0]]), DataError, "row 1"),
    ],
)
def test_what_is_no_vector_of_an_item_is_refused(vectors: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_vectors(vectors, 3, "mine")
