"""The published Sports data as a question: their train pairs, candidates and tree paths, read from where they lie."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed
from recbole_dtlns.judges.contract import Question, Rehearsal
from recbole_dtlns.teachers.candidate_file import read_candidates
from recbole_dtlns.teachers.closed_form import ItemKNN
from recbole_dtlns.teachers.contract import top_candidates
from recbole_dtlns.trees.build import TreeShape, build_tree
from recbole_dtlns.trees.item_tree import ItemTree
from recbole_dtlns.trees.structure import structure_vectors

SPORTS = Path(__file__).resolve().parents[2] / "shared" / "sports"


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sports", type=Path, default=SPORTS, help="folder of the published Sports files")


def sports_train(folder: Path) -> TrainInteractions:
    if not folder.is_dir():
        raise SystemExit(f"the published Sports data is not at {folder}: name its folder with --sports")
    return TrainInteractions.from_tokens(*token_pairs(folder / "sports.train.inter").to_numpy().T)


def token_pairs(file: Path) -> pd.DataFrame:
    """user_id and item_id, the first two columns of every file there, as tokens."""
    return pd.read_csv(file, sep="\t", dtype=str).iloc[:, :2].set_axis(["user_id", "item_id"], axis=1)


def sports_pairs(folder: Path, part: str, train: TrainInteractions) -> Observed:
    """The pairs of the validation or test part whose user and item the train part has."""
    users, items = token_pairs(folder / f"sports.{part}.inter").to_numpy().T
    user_ids = pd.Index(train.user_tokens).get_indexer(users)
    item_ids = pd.Index(train.item_tokens).get_indexer(items)
    known = (user_ids >= 0) & (item_ids >= 0)
    return Observed.of(user_ids[known], item_ids[known])


def sports_question(folder: Path) -> Question:
    """The published candidates (20 for each of 10,507 users) and trees."""
    train = sports_train(folder)
    candidates, _ = read_candidates(folder / "candidates.tsv", train)
    return Question(train, candidates, published_trees(folder, train))


def audited_question(folder: Path, share: float, seed: int) -> tuple[Question, Rehearsal]:
    """ItemKNN's candidates for every user, and the same with a share of each user's pairs hidden.

    ItemKNN, because it is fitted in seconds. The trees are made of the train pairs given, as a run makes them: the
    published ones were made of all train pairs, so they know those that an audit hides.
    """

    def ask(given: TrainInteractions) -> Question:
        fitted = ItemKNN(k=200, shrink=10.0, dimension=64).fit(given)
        vectors = {"structure": structure_vectors(given, 32), "semantic": fitted.item_vectors}
        trees = {name: build_tree(one, TreeShape())[0] for name, one in vectors.items()}
        return Question(given, top_candidates(fitted, given, 20), trees)

    question = ask(sports_train(folder))
    reduced, hidden = hide_positives(question.train, share, seed)
    return question, Rehearsal(ask(reduced), hidden, question)


def published_trees(folder: Path, train: TrainInteractions) -> dict[str, ItemTree]:
    """The published structure and semantic tree."""
    tokens = train.item_tokens.tolist()
    return {name: ItemTree.from_file(folder / f"{name}_paths.tsv", tokens)[0] for name in ("structure", "semantic")}
