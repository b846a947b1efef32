"""What the package computes with arrays, once more in plain Python: slow, obvious, and written from the documents.

And the random data that both are compared on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from block_data import block_pairs

from recbole_dtlns.data.interactions import TrainInteractions


def path_similarity(first: str, second: str) -> float:
    """Longest common prefix / shorter path; 0 when a path is missing."""
    if not first or not second:
        return 0.0
    a, b = first.split("-"), second.split("-")
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    return shared / min(len(a), len(b))


def user_sets(train: TrainInteractions) -> list[set[int]]:
    """Items of every user."""
    return [set(train.matrix[[user]].indices.tolist()) for user in range(train.n_users)]


def item_sets(train: TrainInteractions) -> list[set[int]]:
    """Users of every item."""
    users: list[set[int]] = [set() for _ in range(train.n_items)]
    for user, items in enumerate(user_sets(train)):
        for item in items:
            users[item].add(user)
    return users


def history_similarity(history: Iterable[int], candidate: int, paths: Sequence[str]) -> float | None:
    """Largest similarity of a candidate to a history in one tree; None where either has no path."""
    known = [item for item in history if paths[item]]
    if not known or not paths[candidate]:
        return None
    return max(path_similarity(paths[candidate], paths[item]) for item in known)


def knn_scores(train: TrainInteractions, neighbours: int, shrink: float) -> np.ndarray:
    """Scores of ItemKNN, [n_users, n_items]; -inf where no history item is among an item's neighbours."""
    users = item_sets(train)
    near: list[dict[int, float]] = []
    for item in range(train.n_items):
        cosine = {
            other: len(users[item] & users[other]) / (math.sqrt(len(users[item]) * len(users[other])) + shrink)
            for other in range(train.n_items)
            if other != item and users[item] & users[other]
        }
        near.append(dict(sorted(cosine.items(), key=lambda entry: (-entry[1], entry[0]))[:neighbours]))
    scores = np.full((train.n_users, train.n_items), -np.inf)
    for user, history in enumerate(user_sets(train)):
        for item in range(train.n_items):
            weights = [near[item][seen] for seen in history if seen in near[item]]
            if weights:
                scores[user, item] = sum(weights)
    return scores


def random_interactions(n_users: int, n_items: int, share: float, seed: int) -> TrainInteractions:
    """Random pairs; at least one. Users and items without a pair do not exist, as in a real train split."""
    random = np.random.default_rng(seed)
    users, items = np.nonzero(random.random((n_users, n_items)) < share)
    users, items = np.append(users, 0), np.append(items, 0)
    return TrainInteractions.from_tokens([f"u{user:04d}" for user in users], [f"i{item:04d}" for item in items])


def random_sequences(n_users: int, n_items: int, share: float, seed: int) -> TrainInteractions:
    """Random pairs at few different times, some at none, in rows of a random order."""
    random = np.random.default_rng(seed)
    train = random_interactions(n_users, n_items, share, seed)
    n_pairs = train.matrix.nnz
    times = np.where(random.random(n_pairs) < 0.05, -np.inf, random.integers(0, 6, n_pairs)).astype(np.float64)
    return replace(train, times=times, rows=random.permutation(n_pairs))


def sequences(train: TrainInteractions) -> list[list[int]]:
    """Every user's items, the oldest first: by time, those without one before, and of one time by row."""
    users, items = train.histories()
    assert train.times is not None and train.rows is not None
    pairs = sorted(zip(users.tolist(), train.times.tolist(), train.rows.tolist(), items.tolist(), strict=True))
    return [[item for owner, _, _, item in pairs if owner == user] for user in range(train.n_users)]


def random_paths(n_items: int, seed: int, missing: float = 0.1) -> list[str]:
    """Random tree paths of different lengths; a share of the items has none."""
    random = np.random.default_rng(seed)
    return [
        "" if random.random() < missing else "-".join(map(str, random.integers(0, 3, random.integers(1, 5))))
        for _ in range(n_items)
    ]


def bridged_blocks(**shape: int) -> TrainInteractions:
    """Block data in which one more user links every block to the next: one connected graph of dense blocks."""
    users, items = block_pairs(**shape)
    blocks = len({item.split("-")[0] for item in items})
    bridges = np.repeat([f"bridge{block}" for block in range(blocks - 1)], 2)
    ends = [f"i{end}-00" for block in range(blocks - 1) for end in (block, block + 1)]
    return TrainInteractions.from_tokens(np.append(users, bridges), np.append(items, ends))


def block_of(train: TrainInteractions) -> np.ndarray:
    """Block of every item, from its token."""
    return np.array([int(token.split("-")[0][1:]) for token in train.item_tokens])
