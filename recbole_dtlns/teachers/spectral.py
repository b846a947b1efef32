"""What a low-pass filter of the interaction graph thinks of pairs, and a teacher that ranks all items by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics.dense_algebra import one_thread
from recbole_dtlns.numerics.leading_vectors import leading_values_and_vectors
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.memory import refuse_beyond_memory, say_once

_PAIRS_AT_ONCE = 50_000
_ITEMS_PER_DIMENSION = 32


def spectral_scores(train: TrainInteractions, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Scores of pairs under the ideal low-pass filter of GF-CF (Shen et al., CIKM 2021).

    With R' = D_u^-1/2 R D_i^-1/2 and V its leading right singular vectors, user u's scores are
    (R D_i^-1/2)_u V V^T D_i^1/2: what of the history passes the lowest frequencies. The paper keeps 256 vectors for
    tens of thousands of items; fewer items or users get fewer vectors, because all vectors would let all pass. Memory
    is that of some dense arrays [n_items, vectors], of doubles: in single precision the ranks of close scores depend on
    the processor.

    Args:
        train: the train interactions.
        users, items: the pairs, canonical ids [n_pairs].

    Returns:
        float64 [n_pairs].
    """
    return LowPass.of(train).scores(users, items)


@dataclass(frozen=True)
class LowPass:
    """The filter of `spectral_scores`, made once and asked about pairs; no user's vector is kept.

    Attributes:
        histories: R, CSR [n_users, n_items].
        item_root: D_i^1/2, float64 [n_items].
        lowest: V, float64 [n_items, vectors].
    """

    histories: sp.csr_array
    item_root: np.ndarray
    lowest: np.ndarray

    @classmethod
    def of(cls, train: TrainInteractions) -> LowPass:
        """The filter of these interactions."""
        return cls(train.matrix, _item_root(train), _low_frequencies(train, _vectors_kept(train, 8, 256)))

    def scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of pairs, float64 [n_pairs]; each is the same whatever else is asked for."""
        scores = np.empty(len(users))
        for start in range(0, len(users), _PAIRS_AT_ONCE):
            pairs = slice(start, start + _PAIRS_AT_ONCE)
            asked, row = np.unique(users[pairs], return_inverse=True)
            vectors = _weighted(self.histories[asked], self.item_root) @ self.lowest
            of_items = self.lowest[items[pairs]] * self.item_root[items[pairs], None]
            np.einsum("pd,pd->p", vectors[row], of_items, out=scores[pairs])
        return scores


class GFCF(Teacher):
    """The low-pass filters of GF-CF (Shen et al., CIKM 2021): what of a history passes the lowest graph frequencies.

    Scores are those of `spectral_scores`, plus R R'^T R', the linear filter's, where it has a weight. The paper gives
    the linear filter 1 and the ideal one 0.3; by default we leave the linear one to the teacher `CoOccurrence`.
    """

    class Config(ComponentConfig):
        """Settings of GFCF."""

        prefix = "teacher_gfcf_"

        vectors: int = Field(256, ge=1)
        """The most frequencies that pass; data with fewer than 32 items or users for each keep fewer, at least 4."""
        linear: float = Field(0.0, ge=0)
        """Weight of the linear filter (co-occurrence, both sides normalised) beside the ideal one."""

    config: Config
    version = 2

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "GFCF", **self.config.model_dump()}

    @one_thread
    def fit(self, train: TrainInteractions) -> FilteredHistories:
        """Find the lowest frequencies by a randomised decomposition with a fixed seed.

        Raises:
            ConfigError: their vectors do not fit the free memory.
        """
        kept = _vectors_kept(train, 4, self.config.vectors)
        needed = 8 * (train.n_users + 3 * train.n_items) * kept
        refuse_beyond_memory("GFCF", train, needed)
        say_once(self, f"GFCF with {kept} vectors", train, needed)
        lowest, item_root = _low_frequencies(train, kept), _item_root(train)
        user_vectors = _weighted(train.matrix, item_root) @ lowest
        return FilteredHistories(train, user_vectors, lowest * item_root[:, None], self.config.linear)


class FilteredHistories:
    """A fitted GFCF.

    Args:
        train: the train interactions.
        user_vectors, item_vectors: float64 [n_users, d] and [n_items, d]; their products are the ideal filter's scores.
        linear: weight of the linear filter.
    """

    def __init__(
        self, train: TrainInteractions, user_vectors: np.ndarray, item_vectors: np.ndarray, linear: float
    ) -> None:
        self._users, self._items, self._linear = user_vectors, item_vectors, linear
        self._histories, self._by_user = train.matrix, _normalised(train)
        self.item_vectors = item_vectors.astype(np.float32)

    @one_thread
    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores [B, n_items], float64."""
        scores: np.ndarray = self._users[users] @ self._items.T
        if self._linear:
            # From the history to the users who share it, and on to what they have: no matrix of items x items.
            scores += self._linear * (self._histories[users] @ self._by_user.T @ self._by_user).toarray()
        return scores


def _vectors_kept(train: TrainInteractions, fewest: int, most: int) -> int:
    fewer = min(train.n_users, train.n_items)
    return min(int(np.clip(fewer // _ITEMS_PER_DIMENSION, min(fewest, most), most)), train.n_items)


def _item_root(train: TrainInteractions) -> np.ndarray:
    """D_i^1/2, float64 [n_items]; 1 where there is no pair."""
    found: np.ndarray = np.sqrt(np.maximum(np.bincount(train.matrix.indices, minlength=train.n_items), 1.0))
    return found


def _weighted(histories: sp.csr_array, item_root: np.ndarray) -> sp.csr_array:
    """R D_i^-1/2 of some rows of R, CSR float64."""
    parts = (histories.data / item_root[histories.indices], histories.indices, histories.indptr)
    return sp.csr_array(parts, shape=histories.shape)


def _normalised(train: TrainInteractions) -> sp.csr_array:
    """R', CSR float64 [n_users, n_items]."""
    found, lengths = _weighted(train.matrix, _item_root(train)), np.diff(train.matrix.indptr)
    found.data /= np.repeat(np.sqrt(np.maximum(lengths, 1.0)), lengths)
    return found


def _low_frequencies(train: TrainInteractions, kept: int) -> np.ndarray:
    """V, float64 [n_items, kept]."""
    return leading_values_and_vectors(_normalised(train), kept)[1]
