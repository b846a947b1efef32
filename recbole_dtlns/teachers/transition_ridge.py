"""A sparse linear teacher that knows order: what comes next is explained by what came last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.co_occurrence import Weigh, strongest_entries
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.transitions import last_items, steps
from recbole_dtlns.teachers.closed_form import Dimension, ItemWeightTeacher, refuse_lost_ridge
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.memory import bytes_of_transitions, refuse_beyond_memory, say_once
from recbole_dtlns.teachers.restricted_ridge import restricted_ridge


class TransitionRidge(Teacher):
    """The next item regressed on the last ones, in closed form (after SLIT of SLIST: Choe et al., WWW 2021).

    A case is a step of a user to an item: with x the items before it, the one d places back of the weight
    decay^(d - 1), and y the item, w = (X^T X + reg I)^-1 X^T y for every item that is stepped to. A user is served by
    the same x of the last train items. The paper's target is the rest of the session, decaying, where ours is the next
    item alone; it regresses on all items, which takes a dense matrix of items x items. Here an item's inputs are its k
    nearest by the cosine of the columns X_i and y, as in `NeighbourRidge`, so memory grows with pairs x last and with
    items x k.
    """

    class Config(ComponentConfig):
        """Settings of TransitionRidge."""

        prefix = "teacher_transition_"

        k: int = Field(200, ge=1)
        """Items that an item's weights are fitted on, those that it follows most; time grows faster than their
        square."""
        reg: float = Field(100.0, gt=0)
        """L2 weight of TransitionRidge."""
        last: int = Field(20, ge=1, le=1000)
        """Items before a step, and last items of a user, that count."""
        decay: float = Field(0.8, gt=0, le=1)
        """What an item counts beside the one after it, in (0, 1]; 1: order within the last ones does not matter."""
        dimension: Dimension = 64

    config: Config
    version = 2
    reads_order = True

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "TransitionRidge", **self.config.model_dump()}

    def fit(
        self, train: TrainInteractions, progress: Callable[[int], object] = lambda items: None
    ) -> ItemWeightTeacher:
        """Fit item by item, on as many cores as BLAS would use; the weights are the same for any number of them.

        Raises:
            DataError: the data hold no times.
            ConfigError: the steps do not fit the free memory, or rounding would lose the L2 weight.
        """
        config = self.config
        needed = bytes_of_transitions(train, config.last, config.k)
        refuse_beyond_memory("TransitionRidge", train, needed, "dtlns_teacher_transition_last: 5, for example")
        say_once(self, "TransitionRidge", train, needed)
        made = steps(train, config.last, config.decay)
        inputs, targets = sp.csr_array(made.before.T), sp.csr_array(made.after.T)
        squares = inputs.power(2).sum(axis=1)
        refuse_lost_ridge(
            "TransitionRidge", "teacher_transition_reg", config.reg, float(squares.max(initial=1)), np.float64
        )
        near = strongest_entries(targets, made.before, _cosine(targets, inputs), config.k)
        weights = restricted_ridge(near, inputs, targets, config.reg, progress)
        served = last_items(train, config.last, config.decay)
        return ItemWeightTeacher(served, sp.csr_array(weights.T), config.dimension)


def _cosine(rows: sp.csr_array, others: sp.csr_array) -> Weigh:
    """Weighs the inner products of rows of two matrices by the lengths of both."""
    return _Cosine(*(np.sqrt(side.power(2).sum(axis=1, dtype=np.float64)) for side in (rows, others)))


@dataclass(frozen=True)
class _Cosine:
    length: np.ndarray
    other_length: np.ndarray

    def __call__(self, row: np.ndarray, other: np.ndarray, product: np.ndarray) -> np.ndarray:
        return product / (self.length[row] * self.other_length[other])
