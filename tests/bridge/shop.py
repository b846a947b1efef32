"""The block data as a shop would have it: split in advance, with columns, item features and names of all kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from block_data import block_pairs, split_pairs

Part = tuple[np.ndarray, np.ndarray]
COLUMNS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tdevice:token\ttags:token_seq"


def shop_parts() -> list[Part]:
    """The parts of the block data; some names are numbers, some hold what a table could stumble over."""
    odd = {
        "i0-00": "17",
        "i0-01": "007",
        "i0-02": 'the "best"',
        "i1-00": "na\u00efve caf\u00e9",
        "i1-01": "a,b;c|d",
        "u0-00": "1e5",
    }
    odd |= {"u0-01": "O'Neil", "i1-02": "#1: {x}", "i2-00": "-", "i2-01": "\u2028sep"}
    return [
        (np.array([odd.get(user, user) for user in users]), np.array([odd.get(item, item) for item in items]))
        for users, items in split_pairs(*block_pairs())
    ]


def elsewhere(part: Part) -> Part:
    """As many pairs of the same users, none of them as it was: items of other blocks, and ones that are new."""
    users, items = part
    return users, np.array(
        [f"new-{number % 7}" if number % 2 else f"i3-{number % 20:02d}" for number in range(len(items))]
    )


def write_shop(folder: str = "data", parts: list[Part] | None = None, items: bool = True) -> dict[str, Any]:
    """Write the shop; returns the keys that load it, split in advance."""
    home = Path(folder) / "shop"
    home.mkdir(parents=True)
    for name, (users, tokens) in zip(("train", "valid", "test"), parts or shop_parts(), strict=True):
        rows = [
            f"{quoted(user)}\t{quoted(item)}\t{number % 5 + 1}\t{1_600_000_000 + number}\tphone\tnew sale"
            for number, (user, item) in enumerate(zip(users, tokens, strict=True))
        ]
        (home / f"shop.{name}.inter").write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")
    if items:
        rows = ["item_id:token\ttitle:token_seq\tprice:float", "17\tA red shoe\t9.50", "i3-00\t\t", "unsold\tHat\t3"]
        (home / "shop.item").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (home / "shop.user").write_text("user_id:token\tage:token\nO'Neil\t41\n", encoding="utf-8")
    return {
        "data_path": folder,
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
    }


def quoted(token: str) -> str:
    """As a table holds a token with quotation marks."""
    return '"' + token.replace('"', '""') + '"' if '"' in token else token
