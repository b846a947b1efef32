"""A data set whose trees, verdicts and hardest negatives are known in advance.

Users and items come in blocks; a user has only items of the own block, and has all of them but a few. So items of one
block share a subtree, and a user's best unobserved items, the false negatives, are the missing ones of the block.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions


def block_pairs(
    blocks: int = 4, users: int = 12, items: int = 20, missing: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """User and item tokens of all pairs; tokens are "u<block>-<user>" and "i<block>-<item>"."""
    random = np.random.default_rng(seed)
    pairs = [
        (f"u{block}-{user:02d}", f"i{block}-{item:02d}")
        for block in range(blocks)
        for user in range(users)
        for item in np.sort(random.permutation(items)[missing:])
    ]
    tokens = np.array(pairs)
    return tokens[:, 0], tokens[:, 1]


def block_interactions(**shape: int) -> TrainInteractions:
    """The pairs of `block_pairs` in canonical form."""
    return TrainInteractions.from_tokens(*block_pairs(**shape))


def write_inter(path: Path, users: np.ndarray, items: np.ndarray) -> Path:
    """Write a RecBole atomic file of pairs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{user}\t{item}" for user, item in zip(users, items, strict=True))
    path.write_text(f"user_id:token\titem_id:token\n{rows}\n")
    return path


def write_splits(
    folder: Path,
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    valid: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> dict[str, object]:
    """Write a pre-split data set; returns the config keys that load it."""
    for part, pairs in (("train", train), ("valid", valid), ("test", test)):
        write_inter(folder / name / f"{name}.{part}.inter", *pairs)
    return {
        "data_path": str(folder),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
    }


def split_pairs(
    users: np.ndarray, items: np.ndarray, seed: int = 0
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Train, validation and test pairs, about 80/10/10 at random."""
    draw = np.random.default_rng(seed).random(len(users))
    parts = (draw < 0.8, (draw >= 0.8) & (draw < 0.9), draw >= 0.9)
    return tuple((users[part], items[part]) for part in parts)
