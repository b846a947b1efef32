"""Data whose items have facts: each belongs to a genre and has a maker, in a graph with entities that are no items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from block_data import block_pairs, split_pairs

FACTS = "facts"
MODELS = ("CFKG", "CKE", "KGAT", "KGCN", "KGIN", "KGNNLS", "KTUP", "MCCLK", "MKR", "RippleNet")
SAMPLE = ("CKE", "KGAT", "KTUP", "MKR")
SMALL: dict[str, Any] = {
    "kg_embedding_size": 16,
    "layers": [8],
    "train_rec_step": None,
    "train_kg_step": None,
    "k": 5,
    "n_memory": 4,
    "dtlns_candidates": 5,
    "dtlns_n_candidates": 3,
    "dtlns_judge": "always",
    "dtlns_tree_leaf_size": 6,
}
BY_TURNS = {"train_rec_step": 1, "train_kg_step": 1}  # of KTUP, an epoch each


def keys_of(model: str) -> dict[str, Any]:
    """What keeps a model small, and lets it train both halves."""
    return {**SMALL, **(BY_TURNS if model == "KTUP" else {})}


def write_facts(folder: str = "data", *, in_advance: bool = False, parts: Any = None) -> dict[str, Any]:
    """Write the block data with facts about their items; returns the config keys that load it.

    Some items have no entity, some entities in `.link` have no facts or items of their own, and some facts are about
    other things. Entities and items are in another order than the interactions.

    Args:
        folder: for data sets.
        in_advance: whether train, validation and test are files of their own.
        parts: of the interactions, in place of the block data's.
    """
    home = Path(folder) / FACTS
    home.mkdir(parents=True, exist_ok=True)
    parts = parts or split_pairs(*block_pairs())
    names = ("train", "valid", "test")
    items = sorted({item for _, tokens in parts for item in tokens.tolist()})
    rows = [[f"{user}\t{item}" for user, item in zip(*part, strict=True)] for part in parts]
    head = "user_id:token\titem_id:token"
    if in_advance:
        for name, lines in zip(names, rows, strict=True):
            (home / f"{FACTS}.{name}.inter").write_text("\n".join([head, *lines, ""]))
    else:
        (home / f"{FACTS}.inter").write_text("\n".join([head, *rows[0], *rows[1], *rows[2], ""]))
    write_graph(home, items)
    keys: dict[str, Any] = {"data_path": folder, "load_col": load_col(), **SMALL}
    return {**keys, "benchmark_filename": list(names)} if in_advance else keys


def load_col() -> dict[str, list[str]]:
    """The columns of the files."""
    return {
        "inter": ["user_id", "item_id"],
        "kg": ["head_id", "relation_id", "tail_id"],
        "link": ["item_id", "entity_id"],
    }


def write_graph(home: Path, items: list[str]) -> None:
    """Write `.kg` and `.link`; the last two items have no entity, and one has an entity without facts."""
    linked = [items[place] for place in np.random.default_rng(5).permutation(len(items) - 2)]
    links = [*(f"{item}\te-{item}" for item in linked), "unsold\te-unsold", f"{items[-1]}\te-factless"]
    facts = [f"e-{item}\tof_genre\tgenre-{item[1]}" for item in linked]
    facts += [f"e-{item}\tmade_by\tmaker-{place % 7}" for place, item in enumerate(linked)]
    facts += [f"maker-{place}\tlives_in\ttown-{place % 3}" for place in range(7)]
    (home / f"{FACTS}.link").write_text("\n".join(["item_id:token\tentity_id:token", *links, ""]))
    (home / f"{FACTS}.kg").write_text("\n".join(["head_id:token\trelation_id:token\ttail_id:token", *facts, ""]))
