"""Latent semantic analysis: the words of a text, weighed by how rare they are, in few dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from pydantic import Field
from sklearn.feature_extraction.text import TfidfVectorizer

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import DataError
from recbole_dtlns.numerics.factors import column_factors
from recbole_dtlns.text.contract import Encoder

# Words of any script; beside them, parts of words of three and four letters, which languages without blanks have too.
_PIECES: dict[str, dict[str, Any]] = {
    "words": {"token_pattern": r"(?u)\b\w+\b"},
    "letters": {"analyzer": "char_wb", "ngram_range": (3, 4)},
}


class TFIDF(Encoder):
    """TF-IDF with a truncated singular value decomposition (Deerwester et al., 1990): no model, no network.

    Counts are damped by a logarithm, texts have length 1 before the decomposition. Start vector and signs are fixed,
    and the result does not depend on the number of threads.
    """

    class Config(ComponentConfig):
        """Settings of TF-IDF."""

        prefix = "text_tfidf_"

        dim: int = Field(128, ge=1)
        """tfidf: length of the vectors."""
        pieces: Literal["words", "letters"] = "words"
        """tfidf: what is counted: words, or letters (three or four in a row within words: for short texts, many forms
        of a word, and scripts that part no words)."""

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"encoder": "tfidf", **self.config.model_dump()}

    def encode(self, train: TrainInteractions) -> np.ndarray:
        """Vectors, float32 [n_items, dim]; columns beyond the number of words are zero.

        Raises:
            DataError: the texts hold no word.
        """
        counts = self._words(train)[1]
        vectors = column_factors(sp.csr_array(counts.T), self.config.dim)
        vectors[np.diff(counts.indptr) == 0] = 0  # not merely next to nothing
        return vectors

    def encode_others(self, train: TrainInteractions, texts: Sequence[str]) -> np.ndarray:
        """The texts folded in: where items with the same words lie. Words that no item has count for nothing.

        With X = U S V' the items by words, and U S their vectors, a text x lies at x V = x X' (U S) S^-2.
        """
        words, counts = self._words(train)
        vectors = self.encode(train).astype(np.float64)
        squares = (vectors**2).sum(axis=0)
        inverse = np.divide(1.0, squares, out=np.zeros_like(squares), where=squares > 0)
        others = sp.csr_array(words.transform(list(texts)))
        folded: np.ndarray = (others @ (counts.T @ vectors) * inverse).astype(np.float32)
        return folded

    def _words(self, train: TrainInteractions) -> tuple[TfidfVectorizer, sp.csr_array]:
        """What counts words, and the counts of the items, weighed, [n_items, n_words].

        Raises:
            DataError: the texts hold no word.
        """
        texts = () if train.content is None else train.content.texts
        words = TfidfVectorizer(sublinear_tf=True, **_PIECES[self.config.pieces])
        try:
            return words, sp.csr_array(words.fit_transform(texts))
        except ValueError as error:  # an empty vocabulary
            raise DataError(f"the {len(texts)} texts hold no word: check dtlns_text_fields ({error})") from error
