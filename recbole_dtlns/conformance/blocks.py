"""Interactions whose trees, candidates and verdicts are known in advance.

Users and items come in blocks; a user has only items of the own block, and has all of them but a few. So items of one
block share a subtree, and a user's best unobserved items, the false negatives, are the missing ones of the block.
"""

from __future__ import annotations

import numpy as np

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent


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


def block_texts(item_tokens: np.ndarray) -> tuple[str, ...]:
    """What items of blocks say: words that all of a block have, and one that an item has alone."""
    words = ("amber basil cedar", "delta ember fjord", "grape hazel ivory", "jolly karma linen")
    return tuple(
        f"{words[block % len(words)]} {token.replace('-', 'x')}"
        for block, token in zip(block_of(item_tokens).tolist(), item_tokens.tolist(), strict=True)
    )


def block_content(train: TrainInteractions) -> ItemContent:
    """Texts of blocks, and vectors as an encoder would make them: those of one block are alike."""
    blocks = block_of(train.item_tokens)
    own = np.random.default_rng(0).normal(scale=0.1, size=(train.n_items, 4))
    vectors = (np.eye(blocks.max() + 1, 4)[blocks] + own).astype(np.float32)
    return ItemContent.of_vectors(vectors, block_texts(train.item_tokens))


def block_of(tokens: np.ndarray) -> np.ndarray:
    """The block of every user or item token, int64 [n]."""
    return np.array([int(token[1 : token.index("-")]) for token in tokens.tolist()])
