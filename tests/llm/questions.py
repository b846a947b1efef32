"""Questions of any size, for tests of judges that ask language models."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees.item_tree import ItemTree


def random_question(
    n_users: int = 6, n_items: int = 40, history: int = 5, candidates: int = 4, seed: int = 0
) -> Question:
    """Random histories with times, random paths of three digits in both trees, random candidates."""
    random = np.random.default_rng(seed)
    drawn = np.stack([random.permutation(n_items)[: history + candidates] for _ in range(n_users)])
    users = np.repeat([f"user-{user:06d}" for user in range(n_users)], history)
    items = np.array([f"item-{item:06d}" for item in range(n_items)])[drawn[:, :history]].ravel()
    everything = np.concatenate([items, [f"item-{item:06d}" for item in range(n_items)]])
    owners = np.concatenate([users, np.repeat("zz-owner-of-everything", n_items)])
    train = TrainInteractions.from_tokens(owners, everything, random.permutation(len(owners)))
    trees = [ItemTree(random.integers(0, 4, (n_items, 3)).astype(np.int16)) for _ in range(2)]
    return Question(
        train,
        Candidates(
            np.repeat(np.arange(n_users), candidates).astype(np.int32),
            drawn[:, history:].ravel().astype(np.int32),
            np.tile(np.arange(candidates), n_users).astype(np.int32),
            np.tile(np.linspace(1, 0, candidates), n_users).astype(np.float32),
        ),
        dict(zip(("structure", "semantic"), trees, strict=True)),
    )
