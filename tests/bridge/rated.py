"""Ratings with features of users and items: people of a town rate what is of their town high, and other things low."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

RATED = "rated"
TOWNS, USERS, ITEMS = 3, 16, 14  # users and items of each town
SMALL: dict[str, Any] = {
    "embedding_size": 8,
    "mlp_hidden_size": [16, 8],
    "attention_size": 8,
    "num_heads": 1,
    "cin_layer_size": [8],
    "order_list": [4],
    "t_cin": [8],
    "train_batch_size": 256,
    "dtlns_candidates": 5,
    "dtlns_judge": "always",
    "dtlns_tree_leaf_size": 6,
    "worker": 0,
}
BY_LABEL = {"metrics": ["AUC", "LogLoss"], "valid_metric": "AUC", "eval_args": {"mode": "labeled"}}
RANKED = {"metrics": ["Recall", "NDCG"], "valid_metric": "NDCG@10", "eval_args": {"mode": "full"}}
LABELS: dict[str, Any] = {"threshold": {"rating": 4}, **BY_LABEL}
SAMPLE = ("AFM", "DSSM", "DeepFM", "FFM", "FiGNN", "KD_DAGFM", "LR")
Rows = list[tuple[str, str, int]]


def ratings(seed: int = 0) -> Rows:
    """User, item and rating from 1 to 5: most of what they rate is of their town."""
    random, found = np.random.default_rng(seed), []
    for town in range(TOWNS):
        for user in range(USERS):
            for place in range(TOWNS):
                n = 9 if place == town else 2
                for item in random.choice(ITEMS, n, replace=False):
                    rating = random.integers(4, 6) if place == town else random.integers(1, 4)
                    found.append((f"u{town}-{user:02d}", f"i{place}-{item:02d}", int(rating)))
    return found


def parts_of(rows: Rows, seed: int = 1) -> list[Rows]:
    """Train, validation and test, about 80/10/10 at random."""
    draw = np.random.default_rng(seed).random(len(rows))
    return [
        [row for row, number in zip(rows, draw, strict=True) if low <= number < high]
        for low, high in ((0, 0.8), (0.8, 0.9), (0.9, 1))
    ]


def write_rated(
    folder: str = "data", parts: list[Rows] | None = None, labelled: bool = True, features: bool = True
) -> dict[str, Any]:
    """Write ratings, split in advance, and features of users and items; returns the config keys that load them."""
    home = Path(folder) / RATED
    home.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train", "valid", "test"), parts or parts_of(ratings()), strict=True):
        lines = [f"{user}\t{item}\t{rating}\t{number}" for number, (user, item, rating) in enumerate(rows)]
        head = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
        (home / f"{RATED}.{name}.inter").write_text("\n".join([head, *lines, ""]))
    items = [f"i{town}-{item:02d}" for town in range(TOWNS) for item in range(ITEMS)]
    rows_of_items = [
        f"{item}\ttown-{item[1]} kind-{int(item[-1]) % 2}\t{1990 + int(item[-1])}\t{item[-1]}.5" for item in items
    ]
    (home / f"{RATED}.item").write_text(
        "\n".join(["item_id:token\tclass:token_seq\tyear:token\tprice:float", *rows_of_items, ""])
    )
    users = [f"u{town}-{user:02d}" for town in range(TOWNS) for user in range(USERS)]
    (home / f"{RATED}.user").write_text(
        "\n".join(["user_id:token\ttown:token", *(f"{user}\ttown-{user[1]}" for user in users), ""])
    )
    columns: dict[str, list[str]] = {"inter": ["user_id", "item_id", *(["rating"] if labelled else [])]}
    if features:
        columns |= {"item": ["item_id", "class", "year", "price"], "user": ["user_id", "town"]}
    keys = {"data_path": folder, "benchmark_filename": ["train", "valid", "test"], "load_col": columns, **SMALL}
    return {**keys, **(LABELS if labelled else RANKED)}
