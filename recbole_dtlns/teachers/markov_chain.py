"""A teacher that counts what follows what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.co_occurrence import strongest_entries
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.transitions import last_items, steps
from recbole_dtlns.teachers.closed_form import Dimension, ItemWeightTeacher
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.memory import bytes_of_transitions, refuse_beyond_memory, say_once

ORDER, DECAY, POWER, FOLLOWERS = 20, 0.8, 0.5, 1000


class MarkovChain(Teacher):
    """What follows an item, counted over distances: a Markov chain of higher order as a mixture (Raftery, 1985).

    The count c_ij is the sum of decay^(d - 1) over all pairs of a user in which j comes d places after i, d up to
    `order`; an item's weight for j is c_ij / (sum over j of c_ij)^power. A user's score of j is the sum over the last
    `order` items of decay^(places back) times their weights. Order 1 and power 1 is the chain of first order. The
    mixture's weights are not fitted, as Raftery's are. A power below 1 trusts items that were left often more than
    those that were left once, whose only follower would have the probability 1.
    """

    class Config(ComponentConfig):
        """Settings of MarkovChain."""

        prefix = "teacher_markov_"

        order: int = Field(ORDER, ge=1, le=1000)
        """Places between two items that count, and last items of a user; 1: only what follows at once."""
        decay: float = Field(DECAY, gt=0, le=1)
        """What a pair counts beside one that is a place nearer, in (0, 1]."""
        power: float = Field(POWER, ge=0, le=1)
        """How much of an item's count is divided out of its transitions; 1: they are probabilities, 0: counts."""
        k: int = Field(FOLLOWERS, ge=1)
        """Followers kept per item, the strongest."""
        dimension: Dimension = 64

    config: Config
    version = 2
    reads_order = True

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "MarkovChain", **self.config.model_dump()}

    def fit(self, train: TrainInteractions) -> ItemWeightTeacher:
        """Fit by sparse products.

        Raises:
            DataError: the data hold no times.
            ConfigError: the steps do not fit the free memory.
        """
        config = self.config
        needed = bytes_of_transitions(train, config.order, config.k)
        refuse_beyond_memory("MarkovChain", train, needed, "dtlns_teacher_markov_order: 5, for example")
        say_once(self, "MarkovChain", train, needed)
        weights = transition_weights(train, config.order, config.decay, config.power, config.k)
        return ItemWeightTeacher(last_items(train, config.order, config.decay), weights, config.dimension)


def transition_weights(
    train: TrainInteractions, order: int = ORDER, decay: float = DECAY, power: float = POWER, k: int = FOLLOWERS
) -> sp.csr_array:
    """Row i: the weights of what follows item i, as `MarkovChain` has them; CSR float32 [n_items, n_items]."""
    made = steps(train, order, decay)
    left = sp.csr_array(made.before.T)
    divisor = np.power(np.maximum(left.sum(axis=1, dtype=np.float64), np.finfo(np.float32).tiny), power)
    return strongest_entries(left, made.after, _Divided(divisor), k)


@dataclass(frozen=True)
class _Divided:
    divisor: np.ndarray

    def __call__(self, items: np.ndarray, followers: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return counts / self.divisor[items]
