"""What an encoder is: it makes vectors of what items say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

import numpy as np

from recbole_dtlns.components import Component
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError, ContractError, DataError


class Encoder(Component):
    """Makes a vector of every item. Subclass it, write `encode`, and name the class in an entry point.

    One whose vectors depend on each text alone is a `TextwiseEncoder`: it is never given a text twice.

    Attributes:
        version: of its code; raised when the same inputs give other vectors.
        reads_texts: whether it looks at the texts; False where it has vectors by item already.
        loads_model: whether it loads `dtlns_text_model` from a folder or by a public name.
    """

    version: int
    reads_texts: ClassVar[bool] = True
    loads_model: ClassVar[bool] = False

    def inputs(self) -> dict[str, Any]:
        """Plain data that, with the texts, determines the vectors."""
        raise NotImplementedError

    def encode(self, train: TrainInteractions) -> np.ndarray:
        """A vector of every item, float32 [n_items, d]; zeros for an item without text.

        Args:
            train: with `content`, whose texts are one line each; its pairs are not looked at.

        Raises:
            DTLNSError: nothing can be made of the texts.
        """
        raise NotImplementedError

    def token_counter(self) -> Callable[[Sequence[str]], int] | None:
        """A function that counts the tokens that texts would cost; None where there is no tokenizer, or no model."""
        return None

    def encode_others(self, train: TrainInteractions, texts: Sequence[str]) -> np.ndarray:
        """Vectors of other texts, in the space of the items', float32 [n, d]; zeros for an empty one.

        Args:
            train: as for `encode`.
            texts: one line each.

        Raises:
            ConfigError: the encoder has vectors of the items alone.
        """
        raise ConfigError(
            f"{type(self).__name__} has vectors of the items, and makes none of other texts, as generated ones are: "
            "set dtlns_text_encoder to another, such as tfidf or transformers"
        )


class RunningEncoder(Protocol):
    """A text-by-text encoder that is ready.

    Attributes:
        answered_by: the name under which a server says that it answered; None where the encoder knows its model itself.
        truncated: how many texts were cut because they are too long for the model.
        tokens: that it was given, as far as it can tell.
    """

    answered_by: str | None
    truncated: int
    tokens: int

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The vectors as they come: positions of some texts, int [b], and their vectors, float [b, d].

        Raises:
            EngineError: the model cannot be asked, or answers with what is no vector.
        """
        ...


class TextwiseEncoder(Encoder):
    """Makes a vector of every text for itself, so that what was made once is kept and found again by the text.

    Write `start` in place of `encode`.
    """

    def start(self) -> AbstractContextManager[RunningEncoder]:
        """Load the model, or connect to it; called only when there is a text without a vector."""
        raise NotImplementedError

    def unprompted(self) -> TextwiseEncoder:
        """The same for texts that need nothing before them, because they are whole prompts."""
        return self

    def encode(self, train: TrainInteractions) -> np.ndarray:
        """A vector of every item, made now; the stage that keeps them asks for what is missing alone."""
        return self.encode_others(train, () if train.content is None else train.content.texts)

    def encode_others(self, train: TrainInteractions, texts: Sequence[str]) -> np.ndarray:
        asked = distinct(texts)
        with self.start() as running:
            return spread(texts, asked, gathered(running.encode(asked), len(asked)))


def distinct(texts: Sequence[str]) -> list[str]:
    """The texts that say something, each once."""
    return sorted({text for text in texts if text})


def spread(texts: Sequence[str], asked: Sequence[str], found: np.ndarray) -> np.ndarray:
    """The vector of every text, float32 [n, d], zeros for an empty one, from those of the distinct ones [m, d]."""
    place = {text: number for number, text in enumerate(asked)}
    vectors = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
    said = [number for number, text in enumerate(texts) if text]
    vectors[said] = found[[place[texts[number]] for number in said]]
    return vectors


def gathered(parts: Iterator[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """The vectors of so many texts in their order, float32 [count, d].

    Raises:
        ContractError: a text has no vector, or two, or vectors differ in length.
    """
    found: np.ndarray | None = None
    missing = np.ones(count, dtype=bool)
    for places, vectors in parts:
        if found is None:
            found = np.zeros((count, vectors.shape[1]), dtype=np.float32)
        if vectors.shape != (len(places), found.shape[1]) or not missing[places].all():
            raise ContractError("the encoder gave vectors of several lengths, or of a text twice")
        found[places], missing[places] = vectors, False
    if missing.any():
        raise ContractError(f"the encoder gave no vector of {int(missing.sum())} of {count} texts")
    return np.zeros((0, 1), dtype=np.float32) if found is None else found


def check_vectors(vectors: Any, n_items: int, encoder: str) -> np.ndarray:
    """Refuse what are no vectors of these items; returns them as float32.

    Args:
        vectors: as the encoder gave them.
        n_items: how many there should be.
        encoder: its name, for the message.

    Raises:
        ContractError: the shape is wrong.
        DataError: a number is none.
    """
    shape: tuple[int, ...] = getattr(vectors, "shape", ())
    if len(shape) != 2 or shape[0] != n_items or shape[1] == 0:
        raise ContractError(
            f"the encoder '{encoder}' gave vectors of the shape {shape or None}, and a row of numbers for each of "
            f"{n_items} items is due"
        )
    found: np.ndarray = np.ascontiguousarray(vectors, dtype=np.float32)
    broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(broken):
        raise DataError(
            f"{len(broken)} of {n_items} vectors of the encoder '{encoder}' hold NaN or infinity (the first: row "
            f"{broken[0]})"
        )
    return found
