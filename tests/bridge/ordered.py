"""Sequences whose order is known: every user walks a ring of items, from a place and by a step of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

N_ITEMS = 24
SEQUENCES = "walks"
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "embedding_size": 16,
    "inner_size": 16,
    "n_layers": 1,
    "n_heads": 1,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 128,
    "dtlns_candidates": 5,
    "dtlns_judge": "always",
    "dtlns_tree_leaf_size": 6,
}

SAMPLE = ("SASRec", "GRU4Rec", "BERT4Rec", "CORE", "DIN", "FEARec", "HGN", "SHAN", "TransRec")


def walks(n_users: int = 60, seed: int = 0) -> list[list[str]]:
    """Items of every user, in order."""
    random = np.random.default_rng(seed)
    return [
        [f"i{(int(start) + int(step) * place) % N_ITEMS:02d}" for place in range(int(length))]
        for start, step, length in zip(
            random.integers(0, N_ITEMS, n_users),
            random.integers(1, 3, n_users),
            random.integers(5, 11, n_users),
            strict=True,
        )
    ]


def write_walks(
    folder: str = "data", sequences: list[list[str]] | None = None, features: bool = False, rated: bool = False
) -> dict[str, Any]:
    """Write them, rows of users mixed, and features of items; returns the config keys that load it.

    Where they are rated, items of even numbers have 5, and others 1.
    """
    rows = [
        f"u{user:03d}\t{item}\t{1000 + place * 10}" + (f"\t{1 if int(item[1:]) % 2 else 5}" if rated else "")
        for user, items in enumerate(sequences or walks())
        for place, item in enumerate(items)
    ]
    np.random.default_rng(1).shuffle(rows)
    file = Path(folder) / SEQUENCES / f"{SEQUENCES}.inter"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = "user_id:token\titem_id:token\ttimestamp:float" + ("\trating:float" if rated else "")
    file.write_text("\n".join([head, *rows, ""]))
    columns = {"inter": ["user_id", "item_id", "timestamp", *(["rating"] if rated else [])]}
    if features:
        classes = [f"i{item:02d}\tkind-{item % 3} {'even' if item % 2 else 'odd'}" for item in range(N_ITEMS)]
        file.with_suffix(".item").write_text("\n".join(["item_id:token\tclass:token_seq", *classes, ""]))
        columns["item"] = ["item_id", "class"]
    return {"data_path": folder, "load_col": columns, **SMALL}


def write_split_walks(folder: str = "data", sequences: list[list[str]] | None = None) -> dict[str, Any]:
    """Write them split in advance, every row with the items before it; returns the config keys that load them."""
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for user, items in enumerate(sequences or walks()):
        for place in range(1, len(items)):
            part = {len(items) - 1: "test", len(items) - 2: "valid"}.get(place, "train")
            parts[part].append(f"u{user:03d}\t{' '.join(items[:place])}\t{items[place]}")
    for part, rows in parts.items():
        file = Path(folder) / SEQUENCES / f"{SEQUENCES}.{part}.inter"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(["user_id:token\titem_id_list:token_seq\titem_id:token", *rows, ""]))
    columns = {"inter": ["user_id", "item_id_list", "item_id"]}
    split = {"benchmark_filename": list(parts), "alias_of_item_id": ["item_id_list"]}
    return {"data_path": folder, "load_col": columns, **split, **SMALL}
