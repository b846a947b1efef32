"""Interactions of any size with power laws of users and items, as RecBole's pre-split files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SPORTS_SIZE = (15_138, 8_439, 171_621)  # users, items, train pairs of the published Sports split
FEWEST = 5  # pairs per user


def made_pairs(n_users: int, n_items: int, n_pairs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """About `n_pairs` distinct (user, item) pairs; every user has at least five, every item at least one.

    The k-th user's activity and the k-th item's popularity fall as (k + 10)^-0.75. Users and items belong to one of
    about a hundred groups, and four of five pairs stay within the group, so that there is something to learn.
    """
    random = np.random.default_rng(seed)
    activity = (np.arange(n_users) + 10.0) ** -0.75
    per_user = np.maximum(FEWEST, activity / activity.sum() * (n_pairs - FEWEST * n_users) + FEWEST).astype(np.int64)
    per_user = np.minimum(per_user, n_items // 4)
    users = np.repeat(np.arange(n_users), per_user)
    popularity = (np.arange(n_items) + 10.0) ** -0.75
    groups = max(2, min(100, n_items // 50))
    group_of_item = random.integers(0, groups, n_items)
    order = np.argsort(group_of_item, kind="stable")
    cumulated = np.cumsum(popularity[order])
    bounds = np.append(0.0, cumulated[np.searchsorted(group_of_item[order], np.arange(groups), side="right") - 1])
    group = random.integers(0, groups, n_users)[users]
    within = random.random(len(users)) < 0.8
    low = np.where(within, bounds[group], 0.0)
    high = np.where(within, bounds[group + 1], cumulated[-1])
    point = low + random.random(len(users)) * (high - low)
    items = order[np.minimum(np.searchsorted(cumulated, point, side="right"), n_items - 1)]
    users = np.append(users, random.integers(0, n_users, n_items))
    items = np.append(items, np.arange(n_items))
    keys = np.unique(users * n_items + items)
    return keys // n_items, keys % n_items


def write_made(
    folder: Path, name: str, n_users: int, n_items: int, n_pairs: int, seed: int = 0, evaluated: int | None = None
) -> dict[str, Any]:
    """Write the pairs split at random 8:1:1; returns the config keys that load them.

    Args:
        folder, name: where, and the name of the data set.
        n_users, n_items, n_pairs: size, with the number of train pairs.
        seed: of everything.
        evaluated: keep validation and test pairs of this many users only; None: of all.
    """
    users, items = made_pairs(n_users, n_items, round(n_pairs / 0.8), seed)
    random = np.random.default_rng(seed + 1)
    part = random.choice(3, len(users), p=[0.8, 0.1, 0.1])
    if evaluated is not None:
        chosen_users = np.zeros(n_users, dtype=bool)
        chosen_users[random.permutation(n_users)[:evaluated]] = True
        kept = (part == 0) | chosen_users[users]
        users, items, part = users[kept], items[kept], part[kept]
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(("train", "valid", "test")):
        chosen = part == number
        lines = np.char.add(np.char.add(users[chosen].astype(str), "\t"), items[chosen].astype(str))
        (target / f"{name}.{split}.inter").write_text(
            "user_id:token\titem_id:token\n" + "\n".join(lines.tolist()) + "\n"
        )
    return {
        "data_path": str(folder),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
    }
