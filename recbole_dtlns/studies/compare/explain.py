"""Looks at what the stages before training found: trees, verdicts, relabelled items.

It is made after training and evaluation; only then are validation pairs looked at, to say which verdicts came true.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.data.atomic_file import read_titles
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed
from recbole_dtlns.errors import DataError
from recbole_dtlns.judges.audit import equal_bins
from recbole_dtlns.judges.contract import Label, Question
from recbole_dtlns.judges.history import TreeSimilarity, over_history
from recbole_dtlns.preparation import Preparation
from recbole_dtlns.studies.compare.explanation import Example, Explanation, Level, Node, Relabelled, Stated
from recbole_dtlns.trees.item_tree import ItemTree

_EXAMPLES = 8  # users whose relabelled items are shown
_SHOWN = 6  # items of each, and of each leaf
_MOST_NODES = 1500  # of a tree; deeper levels are left out

logger = logging.getLogger("recbole_dtlns")


def explain(preparation: Preparation, train: DTLNSDataset, valid: Observed) -> Explanation:
    """What there is to say of a run's preparation.

    Args:
        preparation: of the run.
        train: the train split.
        valid: the validation pairs, in RecBole's ids.
    """
    names = item_names(preparation.train, train)
    popularity = np.bincount(preparation.train.matrix.indices, minlength=preparation.train.n_items)
    return Explanation(
        summary=preparation.summary(),
        trees={name: _nodes(tree, names, popularity) for name, tree in preparation.views.items()},
        overlap=_overlap(preparation),
        reliability=_reliability(preparation, train, valid),
        examples=_examples(preparation, names),
    )


def item_names(train: TrainInteractions, dataset: DTLNSDataset) -> np.ndarray:
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


def _nodes(tree: ItemTree, names: np.ndarray, popularity: np.ndarray) -> list[Node]:
    """Every node, from the root down."""
    nodes = [Node("", None, tree.n_items, [])]
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
            nodes.append(Node(path, path.rpartition("-")[0], count, some))
    return nodes


def _overlap(preparation: Preparation) -> dict[str, list[Level]]:
    """By tree: of the candidates with about the same similarity to the history, how many there are and are positive."""
    question = _question(preparation)
    positive = preparation.verdicts.label == Label.POSITIVE
    measures = map(TreeSimilarity, preparation.views.values())
    found = {}
    for name, similarity in zip(preparation.views, over_history(question, *measures), strict=True):
        rows = []
        rounded = np.round(similarity.astype(float), 2)
        for level in np.unique(rounded[rounded >= 0]).tolist():
            here = rounded == level
            rows.append(Level(level, int(here.sum()), float(positive[here].mean())))
        found[name] = rows
    return found


def _reliability(preparation: Preparation, train: DTLNSDataset, valid: Observed) -> list[Stated]:
    """Of the candidates given about the same probability, the share that are validation pairs."""
    judged = to_recbole_ids(preparation.judged, preparation.train, train)
    came_true = np.isin(judged.users * train.item_num + judged.items, valid.users * train.item_num + valid.items)
    bins = equal_bins(judged.probability, came_true)
    return [Stated(stated, found, count) for stated, found, count in bins]


def _examples(preparation: Preparation, names: np.ndarray) -> list[Example]:
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
            Example(
                user=str(train.user_tokens[user]),
                history=len(history),
                has=names[history[:_SHOWN]].tolist(),
                relabelled=[
                    Relabelled(
                        item=names[candidates.items[row]],
                        rank=int(candidates.ranks[row]) + 1,
                        probability=_number(preparation.verdicts.probability[row]),
                    )
                    for row in rows[:_SHOWN]
                ],
            )
        )
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _question(preparation: Preparation) -> Question:
    return Question(preparation.train, preparation.candidates, preparation.views)
