"""Questions for judges whose answer is known: the block data, with teacher, candidates and trees made of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recbole_dtlns.conformance.blocks import block_content, block_interactions, block_of
from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Question, Rehearsal
from recbole_dtlns.teachers.closed_form import EASE
from recbole_dtlns.teachers.contract import Candidates, top_candidates
from recbole_dtlns.trees.build import TreeShape, build_tree
from recbole_dtlns.trees.structure import structure_vectors

_BLOCKS = 4
_CANDIDATES = 10
_HIDDEN = 0.2


def block_question(seed: int = 0, rehearses: bool = False) -> Question:
    """The question about block data; of each user's ten candidates, the four missing items of the block are right.

    Args:
        seed: of the missing items.
        rehearses: whether there is a rehearsal, for judges that learn from one.
    """
    question = _asked(block_interactions(blocks=_BLOCKS, users=12, items=20, missing=4, seed=seed))
    return replace(question, rehearsal=_rehearsal(question)) if rehearses else question


def false_negatives(question: Question) -> np.ndarray:
    """Whether each candidate of a `block_question` is a missing item of its user's own block, bool [n_pairs]."""
    users, items = block_of(question.train.user_tokens), block_of(question.train.item_tokens)
    own: np.ndarray = users[question.candidates.users] == items[question.candidates.items]
    return own


def without_candidates(question: Question) -> Question:
    """The same question about no pair at all."""
    return replace(question, candidates=Candidates(*(column[:0] for column in vars(question.candidates).values())))


def _rehearsal(question: Question) -> Rehearsal:
    reduced, hidden = hide_positives(question.train, _HIDDEN, seed=0)
    return Rehearsal(_asked(reduced), hidden, question)


def _asked(train: TrainInteractions) -> Question:
    fitted = EASE(reg=10.0, dimension=8).fit(train)
    vectors = {"structure": structure_vectors(train, 8), "semantic": fitted.item_vectors}
    shape = TreeShape(branching=4, leaf_size=7, min_share=0.4, max_share=1.6)
    trees = {name: build_tree(found, shape)[0] for name, found in vectors.items()}
    train = replace(train, content=block_content(train))
    return Question(train, top_candidates(fitted, train, _CANDIDATES), trees)
