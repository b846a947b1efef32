"""What every text encoder must hold to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from recbole_dtlns.conformance.blocks import block_interactions, block_texts
from recbole_dtlns.conformance.plain_copy import plain_copy
from recbole_dtlns.conformance.rules import require
from recbole_dtlns.conformance.told_apart import require_inputs_tell_results_apart
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.text.contract import Encoder

MakeEncoder = Callable[..., Encoder]  # the class, or what takes its settings by name

_SILENT = 3  # the first items say nothing
_SAME = 1e-3  # of the longest vector: a batch's padding moves the last digits of a model's numbers
_ODD = ("x", "...", "\u65e5\u672c\u8a9e", "\u05e9\u05dc\u05d5\u05dd", "\U0001f60a", "word " * 20_000, "y" * 50_000)


def gives_a_finite_vector_of_every_item(make: MakeEncoder) -> None:
    """Vectors are finite float32 [n_items, d]; those of items that say nothing are zero."""
    train = _told()
    vectors = make().encode(train)
    require(isinstance(vectors, np.ndarray), f"vectors are a {type(vectors).__name__}, not a NumPy array")
    require(vectors.dtype == np.float32, f"vectors are {vectors.dtype}, not float32")
    require(
        vectors.ndim == 2 and len(vectors) == train.n_items and vectors.shape[1] > 0,
        f"vectors have the shape {vectors.shape}, not [n_items, d]",
    )
    require(bool(np.isfinite(vectors).all()), "a vector holds NaN or infinity")
    if make().reads_texts:
        require(not vectors[:_SILENT].any(), "an item that says nothing has a vector")


def is_encoded_twice_alike(make: MakeEncoder) -> None:
    """The same texts give the same vectors, to the last bit; all randomness is seeded."""
    first, second = (plain_copy(make().encode(_told())) for _ in range(2))
    require(first == second, "the same texts have other vectors the second time")


def equal_texts_have_equal_vectors(make: MakeEncoder) -> None:
    """What two items say alike is one vector, and what they say otherwise are two."""
    train = _told()
    texts = list(train.content.texts) if train.content else []
    texts[-1] = texts[-2]
    vectors = make().encode(_saying(train, texts))
    if make().reads_texts:
        require(_near(vectors[-1], vectors[-2], vectors), "two items that say the same have other vectors")
        require(not _near(vectors[-1], vectors[_SILENT], vectors), "two items that say other things have one vector")


def knows_nothing_of_pairs(make: MakeEncoder) -> None:
    """Vectors are the same where train pairs are hidden: a rehearsal has those of the actual question."""
    train = _told()
    hidden = train.without(np.arange(train.matrix.nnz) % 3 == 0)
    require(
        plain_copy(make().encode(train)) == plain_copy(make().encode(hidden)), "vectors depend on who has which item"
    )


def leaves_what_items_say_alone(make: MakeEncoder) -> None:
    """Nothing of items and pairs is written to."""
    train = _told()
    before = plain_copy(train)
    make().encode(train)
    require(plain_copy(train) == before, "what it was given was written to")


def survives_any_text(make: MakeEncoder) -> None:
    """Texts of one sign, without words, of any script and of any length have finite vectors, beside ordinary ones."""
    train = _told()
    texts = list(train.content.texts) if train.content else []
    texts[: len(_ODD)] = _ODD
    vectors = make().encode(_saying(train, texts))
    require(bool(np.isfinite(vectors).all()), "the vector of an odd text holds NaN or infinity")


def inputs_tell_vectors_apart(make: MakeEncoder) -> None:
    """`inputs` are plain data, and no setting changes a vector without changing them."""
    train = _told()
    require_inputs_tell_results_apart(make, lambda encoder: plain_copy(encoder.encode(train)))


def puts_other_texts_where_items_say_the_same(make: MakeEncoder) -> None:
    """Texts that are no item's lie in the items' space; an encoder that has vectors of items alone says so."""
    train = _told()
    own, texts = make().encode(train), train.content.texts if train.content else ()
    try:
        others = make().encode_others(train, [*texts, texts[-1]])
    except ConfigError:
        return
    require(others.dtype == np.float32, f"vectors of other texts are {others.dtype}, not float32")
    for place, vector in enumerate(others):
        item = min(place, train.n_items - 1)
        require(_near(vector, own[item], own), "a text has another vector than the item that says the same")


def a_text_has_one_vector_in_any_company(make: MakeEncoder) -> None:
    """A `TextwiseEncoder`: a text's vector does not depend on the texts around it, for it is kept by the text."""
    train = _told()
    together = make().encode(train)
    texts = train.content.texts if train.content else ()
    for item in (_SILENT, train.n_items - 1):
        alone = make().encode(_saying(train, [text if place == item else "" for place, text in enumerate(texts)]))
        require(_near(alone[item], together[item], together), f"the text {texts[item]!r} alone has another vector")


ENCODER_CHECKS: tuple[Callable[[MakeEncoder], None], ...] = (
    gives_a_finite_vector_of_every_item,
    is_encoded_twice_alike,
    equal_texts_have_equal_vectors,
    knows_nothing_of_pairs,
    leaves_what_items_say_alone,
    survives_any_text,
    inputs_tell_vectors_apart,
    puts_other_texts_where_items_say_the_same,
)
TEXTWISE_ENCODER_CHECKS: tuple[Callable[[MakeEncoder], None], ...] = (
    *ENCODER_CHECKS,
    a_text_has_one_vector_in_any_company,
)


def _told() -> TrainInteractions:
    """Items of blocks, which say so; the first three say nothing."""
    train = block_interactions(blocks=2, users=4, items=8, missing=2)
    return _saying(
        train, ["" if place < _SILENT else text for place, text in enumerate(block_texts(train.item_tokens))]
    )


def _saying(train: TrainInteractions, texts: list[str]) -> TrainInteractions:
    return replace(train, content=ItemContent(tuple(texts)))


def _near(first: np.ndarray, second: np.ndarray, among: Any) -> bool:
    longest = float(np.linalg.norm(among, axis=1).max())
    return bool(np.linalg.norm(first - second) <= _SAME * longest)
