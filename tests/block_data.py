"""The blocks that the package's conformance checks know, as files that RecBole reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recbole_dtlns.conformance.blocks import block_interactions, block_pairs

__all__ = ["block_interactions", "block_pairs", "split_pairs", "write_inter", "write_splits"]


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
