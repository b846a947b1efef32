"""The hard negative is the candidate with the largest multi-view quality."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_python import path_similarity, random_paths

from recbole_dtlns.negatives.selection import MultiViewSelector
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.tree.item_tree import ItemTree

# Item 1 is the positive. In the structure tree 2 is its neighbour, in the semantic tree 3 is; 4 and 5 are far in both.
STRUCTURE = ["", "0-0", "0-0", "1-0", "1-1", "2-0"]
SEMANTIC = ["", "0-0", "1-0", "0-1", "1-1", "2-0"]


def view(paths: list[str]) -> TreeView:
    return TreeView(ItemTree.from_paths(paths), np.arange(len(paths)), "cpu")


def chosen(scores: list[float], alpha_co: float, alpha_se: float, candidates: tuple[int, ...] = (2, 3, 4, 5)) -> int:
    selector = MultiViewSelector(len(candidates), alpha_co, alpha_se, view(STRUCTURE), view(SEMANTIC))
    column = selector.select(torch.tensor([scores]), torch.tensor([1]), torch.tensor([candidates]))
    return candidates[int(column)]


@pytest.mark.parametrize(
    ("scores", "alpha_co", "alpha_se", "expected"),
    [
        ([0.0, 1.0, 5.0, 2.0], 0.0, 0.0, 4),  # score alone
        ([4.0, 1.0, 5.0, 0.0], 0.1, 0.0, 4),  # 0.8 + 0.1 < 1
        ([4.0, 1.0, 5.0, 0.0], 0.3, 0.0, 2),  # 0.8 + 0.3 > 1
        ([4.0, 4.5, 5.0, 0.0], 0.0, 0.3, 3),  # 0.9 + 0.3 * 0.5 > 1
        ([4.0, 4.5, 5.0, 0.0], 0.3, 0.3, 2),  # 0.8 + 0.3 > 0.9 + 0.15
        ([7.0, 7.0, 7.0, 7.0], 0.1, 0.3, 3),  # equal scores: the trees decide, 0.15 > 0.1
        ([7.0, 7.0, 7.0, 7.0], 0.0, 0.0, 2),  # nothing decides: the first
        ([-40.0, -10.0, -50.0, -50.0], 0.1, 0.3, 3),  # negative scores are scaled the same way
    ],
)
def test_known_hardest(scores: list[float], alpha_co: float, alpha_se: float, expected: int) -> None:
    """Scores scaled to [0, 1] in the row, plus weighted closeness to the positive in each tree."""
    assert chosen(scores, alpha_co, alpha_se) == expected


def test_scaling_is_per_row() -> None:
    """A user whose scores are a thousand times larger gets the same negative."""
    scores = [4.0, 1.0, 5.0, 0.0]
    assert chosen([1000 * score - 7 for score in scores], 0.3, 0.0) == chosen(scores, 0.3, 0.0) == 2


@pytest.mark.parametrize(("alpha_co", "alpha_se"), [(0.0, 0.0), (0.1, 0.3), (0.0, 2.0), (2.0, 0.0)])
def test_rows_of_a_batch_are_the_formula(alpha_co: float, alpha_se: float) -> None:
    """q_j written out in plain Python picks the same column, row by row."""
    random = np.random.default_rng(0)
    n_items, n_rows, n_candidates = 40, 60, 10
    structure, semantic = random_paths(n_items, 1), random_paths(n_items, 2)
    positives, candidates = random.integers(0, n_items, n_rows), random.integers(0, n_items, (n_rows, n_candidates))
    scores = random.standard_normal((n_rows, n_candidates)).round(2)
    expected = []
    for row, positive in enumerate(positives):
        low, high = scores[row].min(), scores[row].max()
        quality = [
            (scores[row, place] - low) / (high - low + 1e-8)
            + alpha_co * path_similarity(structure[positive], structure[item])
            + alpha_se * path_similarity(semantic[positive], semantic[item])
            for place, item in enumerate(candidates[row])
        ]
        expected.append(int(np.argmax(quality)))
    selector = MultiViewSelector(n_candidates, alpha_co, alpha_se, view(structure), view(semantic))
    found = selector.select(torch.tensor(scores), torch.tensor(positives), torch.tensor(candidates))
    assert found.tolist() == expected
