"""Ridge regressions of all items at once, each on a few others: nothing of the size items x items is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.blocks.work import over_blocks
from recbole_dtlns.numerics.groups import expanded, stretches

# A group of items is worked on at a time, whichever bound it meets first. Calls of SciPy cost more than the work on one
# item does; larger groups leave the cache.
_ITEMS_AT_ONCE = 16
_PAIRS_AT_ONCE = 500_000
_DENSE_AT_ONCE = 4_000_000
_ITEMS_LISTED_AT_ONCE = 10_000


def restricted_ridge(
    near: sp.csr_array, inputs: sp.csr_array, targets: sp.csr_array, reg: float, progress: Callable[[int], object]
) -> sp.csr_array:
    """The weights of every item's ridge regression: w_N = (X_N^T X_N + reg I)^-1 X_N^T y for its neighbours N.

    Args:
        near: the neighbours of every item, none of which is without a case, CSR [n_items, n_items], columns in any
            order.
        inputs: X^T, what every item says as an input, by case, CSR float32 [n_items, n_cases].
        targets: y of every item, by case, CSR float32 [n_items, n_cases].
        reg: the L2 weight.
        progress: called with the number of items just done, n_items in all.

    Returns:
        row j: the weights of j's neighbours, float32, stored where `near` stores its entries.
    """
    order, groups = _groups(near, np.diff(inputs.indptr))
    weights = np.empty(near.nnz, dtype=np.float32)
    if groups:
        whole = _Regressions(near, inputs, targets, reg, order)
        found = over_blocks(_solved, whole, groups, "weights", progress)["weights"]
        done = 0
        for some in stretches(len(order), _ITEMS_LISTED_AT_ONCE):
            entries = expanded(near.indptr, order[some])[1]
            weights[entries] = found[done : done + len(entries)]
            done += len(entries)
    progress(near.shape[0] - len(order))
    return sp.csr_array((weights, near.indices, near.indptr), shape=near.shape)


@dataclass(frozen=True)
class _Regressions:
    near: sp.csr_array
    inputs: sp.csr_array
    targets: sp.csr_array
    reg: float
    order: np.ndarray


def _solved(whole: _Regressions, group: slice) -> dict[str, np.ndarray]:
    """The weights of the neighbours of a group of items, one item's after the other's."""
    near, items = whole.near, whole.order[group]
    owner, entries = expanded(near.indptr, items)
    neighbour = (entries - near.indptr[items][owner]).astype(np.int32)
    # The target comes after the neighbours, so that its row holds its products with them.
    last = neighbour.max() + 1
    gram = _grams(
        sp.vstack([whole.inputs[near.indices[entries]], whole.targets[items]], format="csr"),
        np.append(owner, np.arange(len(items))).astype(np.int32),
        np.append(neighbour, np.full(len(items), last, dtype=np.int32)),
        (len(items), last + 1),
    )
    diagonal = np.arange(last)
    gram[:, diagonal, diagonal] += whole.reg  # where an item has fewer neighbours: no weight, not singular
    found = np.linalg.solve(gram[:, :last, :last], gram[:, :last, last:])
    return {"weights": found[owner, neighbour, 0].astype(np.float32)}


def _groups(near: sp.csr_array, cases: np.ndarray) -> tuple[np.ndarray, list[slice]]:
    """Items that have neighbours, in the order of how many, and groups of them in which all have about as many.

    Args:
        near: neighbours by item.
        cases: number of cases of every item.
    """
    counts = np.diff(near.indptr)
    pairs = np.empty(len(counts))
    for items in stretches(len(counts), _ITEMS_LISTED_AT_ONCE):
        start = near.indptr[items.start : items.stop + 1]
        pairs[items] = np.diff(np.append(0.0, np.cumsum(cases[near.indices[start[0] : start[-1]]]))[start - start[0]])
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    before = np.append(0, np.cumsum(pairs[order]))
    groups = []
    start = 0
    while start < len(order):
        stop = int(np.searchsorted(before, before[start] + _PAIRS_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), start + _ITEMS_AT_ONCE, len(order))
        groups.append(slice(start, stop))
        start = stop
    return order, groups


def _grams(part: sp.csr_array, owner: np.ndarray, place: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The inner products of rows, for several sets of rows at once.

    A product of sparse matrices takes several passes over every two entries of a case. Here each case, cut down to a
    set, is a row of a small dense matrix that is added to the rows of the set's members: a loop that the processor
    runs on several numbers at once. Most such cases have one entry; they count on the diagonal alone.

    Args:
        part: the rows of all sets, none of them empty, CSR [n, n_cases].
        owner: the set of each row, int32.
        place: the place of each within its set, int32.
        shape: number of sets, and places in each.

    Returns:
        float64 [sets, places, places].
    """
    sets, places = shape
    rows = part.shape[0]
    known = np.zeros(part.shape[1], dtype=bool)
    known[part.indices] = True
    cases = np.flatnonzero(known)
    short = np.empty(part.shape[1], dtype=np.int32)
    short[cases] = np.arange(len(cases), dtype=np.int32)
    per_row = np.diff(part.indptr)
    case = short[part.indices] + np.repeat(owner * np.int32(len(cases)), per_row)
    several = np.bincount(case, minlength=sets * len(cases)) > 1
    kept = np.flatnonzero(several[case])
    row = np.repeat(np.arange(rows, dtype=np.int32), per_row)[kept]
    indptr = np.append(0, np.cumsum(np.bincount(row, minlength=rows))).astype(np.int32)
    numbered = np.flatnonzero(several)
    number = np.empty(len(several), dtype=np.int32)
    number[numbered] = np.arange(len(numbered), dtype=np.int32)
    stored_by_row = sp.csr_array((part.data[kept], number[case[kept]], indptr), shape=(rows, len(numbered)))
    by_case = stored_by_row.T.tocsr()
    target, column = (owner * np.int32(places) + place)[by_case.indices], place[by_case.indices]
    grams = np.zeros((sets * places, places))
    step = max(1, _DENSE_AT_ONCE // places)
    for first in range(0, by_case.shape[0], step):
        bounds = by_case.indptr[first : first + step + 1]
        stored, height = slice(bounds[0], bounds[-1]), len(bounds) - 1
        values, bounds = by_case.data[stored], bounds - bounds[0]
        dense = sp.csr_array((values, column[stored], bounds), shape=(height, places)).toarray()
        spread = sp.csr_array((values, target[stored], bounds), shape=(height, sets * places))
        grams += spread.T @ dense
    whole = grams.reshape(sets, places, places)
    whole[owner, place, place] = np.add.reduceat(part.data.astype(np.float64) ** 2, part.indptr[:-1])
    return whole
