"""What the stages before training found, as plain data for the report: trees, verdicts, relabelled items.

It is made after training and evaluation; only then are validation pairs looked at, to say which verdicts came true.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from recbole.data.dataset import Dataset

from recbole_dtlns.data.atomic_file import read_titles
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed
from recbole_dtlns.errors import DataError
from recbole_dtlns.judges.audit import equal_bins
from recbole_dtlns.judges.contract import Label, Question
from recbole_dtlns.judges.history import TreeSimilarity, over_history
from recbole_dtlns.preparation.pipeline import Preparation, to_recbole_ids
from recbole_dtlns.trees.item_tree import ItemTree

_EXAMPLES = 8  # users whose relabelled items are shown
_SHOWN = 6  # items of each, and of each leaf
_MOST_NODES = 1500  # of a tree; deeper levels are left out

logger = logging.getLogger("recbole_dtlns")


def explain(preparation: Preparation, train: Dataset, valid: Observed) -> dict[str, Any]:
    """Plain data on a run's preparation.

    Args:
        preparation: of the run.
        train: the train split.
        valid: the validation pairs, in RecBole's ids.

    Returns:
        `summary` (text), `trees` (nodes by tree), `overlap` (share called positive by similarity to the history),
        `reliability` (stated probability and share found in validation), `examples` (users and their relabelled items).
    """
    names = item_names(preparation.train, train)
    popularity = np.bincount(preparation.train.matrix.indices, minlength=preparation.train.n_items)
    return {
        "summary": preparation.summary(),
        "trees": {
            "structure": _nodes(preparation.structure, names, popularity),
            "semantic": _nodes(preparation.semantic, names, popularity),
        },
        "overlap": _overlap(preparation),
        "reliability": _reliability(preparation, train, valid),
        "examples": _examples(preparation, names),
    }


def item_names(train: TrainInteractions, dataset: Dataset) -> np.ndarray:
    """A title of every canonical item where the data set's .item file has titles, else its token; str [n_items].

    The file is read whether or not `load_col` names it, for no model needs the titles.
    """
    tokens = train.item_tokens.astype(object)
    file = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    if not file.exists():
        return tokens
    config = dataset.config
    try:
        titles = read_titles(file, dataset.iid_field, config["field_separator"], config["encoding"])
    except DataError as error:
        logger.warning("items are shown by their ids: %s", error)
        return tokens
    return np.array([titles.get(token, token) for token in tokens], dtype=object)


def _nodes(tree: ItemTree, names: np.ndarray, popularity: np.ndarray) -> list[dict[str, Any]]:
    """Every node as its path, parent's path, number of items and names of the most popular ones; from the root down."""
    nodes: list[dict[str, Any]] = [{"path": "", "parent": None, "items": tree.n_items, "some": []}]
    for depth in range(1, tree.digits.shape[1] + 1):
        reaching = np.flatnonzero((tree.digits[:, :depth] >= 0).all(axis=1))
        prefixes, node, counts = np.unique(
            tree.digits[reaching, :depth], axis=0, return_inverse=True, return_counts=True
        )
        if len(nodes) + len(prefixes) > _MOST_NODES:
            break
        members = reaching[np.lexsort((-popularity[reaching], node.ravel()))]
        starts = np.cumsum(counts) - counts
        for prefix, start, count in zip(prefixes.tolist(), starts, counts.tolist(), strict=True):
            path = "-".join(map(str, prefix))
            some = names[members[start : start + min(count, _SHOWN)]].tolist()
            nodes.append({"path": path, "parent": path.rpartition("-")[0], "items": count, "some": some})
    return nodes


def _overlap(preparation: Preparation) -> dict[str, list[dict[str, float]]]:
    """By tree: of the candidates with about the same similarity to the history, how many there are and are positive."""
    question = _question(preparation)
    positive = preparation.verdicts.label == Label.POSITIVE
    measures = {"structure": TreeSimilarity(preparation.structure), "semantic": TreeSimilarity(preparation.semantic)}
    found = {}
    for (name, _), similarity in zip(measures.items(), over_history(question, *measures.values()), strict=True):
        rows = []
        rounded = np.round(similarity.astype(float), 2)
        for level in np.unique(rounded[rounded >= 0]).tolist():
            here = rounded == level
            rows.append({"similarity": level, "candidates": int(here.sum()), "positive": float(positive[here].mean())})
        found[name] = rows
    return found


def _reliability(preparation: Preparation, train: Dataset, valid: Observed) -> list[dict[str, float]]:
    """Of the candidates given about the same probability, the share that are validation pairs."""
    judged = to_recbole_ids(preparation.judged, preparation.train, train)
    came_true = np.isin(judged.users * train.item_num + judged.items, valid.users * train.item_num + valid.items)
    bins = equal_bins(judged.probability, came_true)
    return [{"stated": stated, "found": found, "candidates": count} for stated, found, count in bins]


def _examples(preparation: Preparation, names: np.ndarray) -> list[dict[str, Any]]:
    """Some users with the items they have and those that were relabelled, best first."""
    positives, candidates, train = preparation.relabelling.positives, preparation.candidates, preparation.train
    users = np.unique(positives.users)
    chosen = users[np.linspace(0, len(users) - 1, min(_EXAMPLES, len(users))).astype(int)] if len(users) else users
    found = []
    for user in chosen:
        added = set(positives.items[positives.users == user].tolist())
        rows = [row for row in np.flatnonzero(candidates.users == user) if int(candidates.items[row]) in added]
        history = train.matrix.indices[train.matrix.indptr[user] : train.matrix.indptr[user + 1]]
        found.append(
            {
                "user": str(train.user_tokens[user]),
                "history": len(history),
                "has": names[history[:_SHOWN]].tolist(),
                "relabelled": [
                    {
                        "item": names[candidates.items[row]],
                        "rank": int(candidates.ranks[row]) + 1,
                        "probability": _number(preparation.verdicts.probability[row]),
                    }
                    for row in rows[:_SHOWN]
                ],
            }
        )
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _question(preparation: Preparation) -> Question:
    return Question(preparation.train, preparation.candidates, preparation.structure, preparation.semantic)
