"""A sparse linear teacher for catalogues of any size: every item is explained by the items nearest to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.co_occurrence import MAX_HISTORY, cut_histories, strongest_items
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.teachers.closed_form import Dimension, ItemWeightTeacher, cosine, refuse_lost_ridge
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.restricted_ridge import restricted_ridge

_LEAST_REG, _REG_PER_PAIR = 50.0, 3.5


class NeighbourRidge(Teacher):
    """Sparse linear method with neighbourhood selection, in closed form (fsSLIM: Ning & Karypis, ICDM 2011).

    Item j is regressed on its k cosine-nearest items N: w_N = (G_NN + reg I)^-1 G_Nj, with G = X^T X. The paper also
    penalises the absolute weights and forbids negative ones, which takes an iterative solver for every item; ridge
    regression has a closed form. Time grows with the pairs and with items x k^2 (k + users per item), memory
    with items x k: G is never made, its parts G_NN are, a few at a time. Histories beyond 1,000 items are sampled (see
    `recbole_dtlns.data.co_occurrence`).
    """

    class Config(ComponentConfig):
        """Settings of NeighbourRidge."""

        prefix = "teacher_ridge_"

        k: int = Field(200, ge=1)
        """Neighbours that an item's weights are fitted on; time grows faster than their square."""
        reg: float | None = Field(None, gt=0)
        """L2 weight of NeighbourRidge; None: 3.5 for each train pair of a mean item, and at least 50."""
        dimension: Dimension = 64

    config: Config
    version = 3

    def inputs(self) -> dict[str, Any]:
        return {
            "teacher": "NeighbourRidge",
            "neighbours": self.config.k,
            "reg": self.config.reg,
            "dimension": self.config.dimension,
        }

    def fit(
        self, train: TrainInteractions, progress: Callable[[int], object] = lambda items: None
    ) -> ItemWeightTeacher:
        """Fit item by item, on as many cores as BLAS would use; the weights are the same for any number of them.

        Raises:
            ConfigError: rounding would lose the L2 weight.
        """
        users = float(np.bincount(train.matrix.indices, minlength=1).max())
        reg = self.regularisation(train)
        refuse_lost_ridge("NeighbourRidge", "teacher_ridge_reg", reg, users, np.float64)
        fitted = ItemWeightTeacher(train.matrix, self._weights(train, reg, progress), self.config.dimension)
        if self.config.reg is None:
            fitted.note = f"L2 weight {reg:.0f}"
        return fitted

    def regularisation(self, train: TrainInteractions) -> float:
        """The L2 weight on these data: items that more users have want more of it (docs/evidence.md)."""
        if self.config.reg is not None:
            return self.config.reg
        return max(_LEAST_REG, _REG_PER_PAIR * train.matrix.nnz / train.n_items)

    def _weights(self, train: TrainInteractions, reg: float, progress: Callable[[int], object]) -> sp.csr_array:
        """Column j: the weights of j's neighbours; what they are found with is let go."""
        near = strongest_items(train, cosine(train), self.config.k, MAX_HISTORY)
        users_of = sp.csr_array(cut_histories(train, MAX_HISTORY).T)
        return sp.csr_array(restricted_ridge(near, users_of, users_of, reg, progress).T)
