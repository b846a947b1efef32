"""A sparse linear teacher for catalogues of any size: every item is explained by the items nearest to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.co_occurrence import MAX_HISTORY, cut_histories, strongest_items
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.numerics.dense_algebra import side_by_side
from recbole_dtlns.teachers.closed_form import Dimension, ItemWeightTeacher, cosine, refuse_lost_ridge
from recbole_dtlns.teachers.contract import Teacher

# A group of items is worked on at a time, whichever bound it meets first. Calls of SciPy cost more than the work on one
# item does; larger groups leave the cache.
_ITEMS_AT_ONCE = 16
_PAIRS_AT_ONCE = 500_000
_DENSE_AT_ONCE = 4_000_000


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
        reg: float = Field(50.0, gt=0)
        """L2 weight of NeighbourRidge."""
        dimension: Dimension = 64

    config: Config
    version = 1

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
        refuse_lost_ridge("NeighbourRidge", self.config.reg, users, np.float64)
        near = strongest_items(train, cosine(train), self.config.k, MAX_HISTORY)
        weights = _ridge_weights(near, cut_histories(train, MAX_HISTORY), self.config.reg, progress)
        return ItemWeightTeacher(train, sp.csr_array(weights.T), self.config.dimension)


def _ridge_weights(
    near: sp.csr_array, matrix: sp.csr_array, reg: float, progress: Callable[[int], object]
) -> sp.csr_array:
    """Row j: the weights of j's neighbours, float32, stored where `near` stores its entries."""
    by_item = sp.csr_array(matrix.T)
    groups = list(_groups(near, np.diff(by_item.indptr)))
    weights = np.empty(near.nnz, dtype=np.float32)

    def solve(group: int) -> None:
        items = groups[group]
        counts = near.indptr[items + 1] - near.indptr[items]
        owner = np.repeat(np.arange(len(items), dtype=np.int32), counts)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        entries = np.repeat(near.indptr[items], counts) + place
        neighbour = place.astype(np.int32)
        # The item itself comes after its neighbours, so that its row holds what it shares with them.
        last = counts.max()
        gram = _grams(
            by_item,
            np.append(near.indices[entries], items),
            np.append(owner, np.arange(len(items), dtype=np.int32)),
            np.append(neighbour, np.full(len(items), last, dtype=np.int32)),
            (len(items), last + 1),
        )
        diagonal = np.arange(last)
        gram[:, diagonal, diagonal] += reg  # where an item has fewer neighbours than another: no weight, not singular
        found = np.linalg.solve(gram[:, :last, :last], gram[:, :last, last:])
        weights[entries] = found[owner, neighbour, 0]

    with side_by_side() as run:
        run(solve, range(len(groups)), lambda group: progress(len(groups[group])))
    progress(near.shape[0] - sum(map(len, groups)))
    return sp.csr_array((weights, near.indices, near.indptr), shape=near.shape)


def _groups(near: sp.csr_array, users: np.ndarray) -> Iterator[np.ndarray]:
    """Items that have neighbours, by groups in which all have about as many.

    Args:
        near: neighbours by item.
        users: number of users of every item.
    """
    counts = np.diff(near.indptr)
    pattern = sp.csr_array((np.ones(near.nnz, dtype=np.float32), near.indices, near.indptr), shape=near.shape)
    pairs = pattern @ users.astype(np.float64)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    before = np.append(0, np.cumsum(pairs[order]))
    start = 0
    while start < len(order):
        stop = int(np.searchsorted(before, before[start] + _PAIRS_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), start + _ITEMS_AT_ONCE)
        yield order[start:stop]
        start = stop


def _grams(
    by_item: sp.csr_array, items: np.ndarray, owner: np.ndarray, place: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """The numbers of users that items share, for several sets of items at once.

    A product of sparse matrices takes several passes over every pair of items of a history. Here each history, cut down
    to a set, is a row of a small dense matrix that is added to the rows of the set's items: a loop that the processor
    runs on several numbers at once. Most such histories have one item; they count on the diagonal alone.

    Args:
        by_item: the train pairs, CSR [n_items, n_users].
        items: the items of all sets.
        owner: the set of each, int32.
        place: the place of each within its set, int32.
        shape: number of sets, and places in each.

    Returns:
        float64 [sets, places, places].
    """
    sets, places = shape
    part = by_item[items]
    known = np.zeros(by_item.shape[1], dtype=bool)
    known[part.indices] = True
    users = np.flatnonzero(known)
    short = np.empty(by_item.shape[1], dtype=np.int32)
    short[users] = np.arange(len(users), dtype=np.int32)
    per_item = np.diff(part.indptr)
    history = short[part.indices] + np.repeat(owner * np.int32(len(users)), per_item)
    several = np.bincount(history, minlength=sets * len(users)) > 1
    kept = np.flatnonzero(several[history])
    row = np.repeat(np.arange(len(items), dtype=np.int32), per_item)[kept]
    indptr = np.append(0, np.cumsum(np.bincount(row, minlength=len(items)))).astype(np.int32)
    numbered = np.flatnonzero(several)
    number = np.empty(len(several), dtype=np.int32)
    number[numbered] = np.arange(len(numbered), dtype=np.int32)
    stored_by_item = sp.csr_array((part.data[kept], number[history[kept]], indptr), shape=(len(items), len(numbered)))
    histories = stored_by_item.T.tocsr()
    target, column = (owner * np.int32(places) + place)[histories.indices], place[histories.indices]
    grams = np.zeros((sets * places, places))
    step = max(1, _DENSE_AT_ONCE // places)
    for first in range(0, histories.shape[0], step):
        bounds = histories.indptr[first : first + step + 1]
        stored, rows = slice(bounds[0], bounds[-1]), len(bounds) - 1
        values, bounds = histories.data[stored], bounds - bounds[0]
        dense = sp.csr_array((values, column[stored], bounds), shape=(rows, places)).toarray()
        spread = sp.csr_array((values, target[stored], bounds), shape=(rows, sets * places))
        grams += spread.T @ dense
    whole = grams.reshape(sets, places, places)
    whole[owner, place, place] = np.add.reduceat(part.data.astype(np.float64) ** 2, part.indptr[:-1])
    return whole
