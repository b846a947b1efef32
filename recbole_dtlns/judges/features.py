"""What is known about a candidate pair without asking anybody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_dtlns.judges.contract import Pairs, Question
from recbole_dtlns.judges.history import CoOccurrence, Measure, TreeSimilarity, over_history, text_similarity
from recbole_dtlns.judges.order import Order
from recbole_dtlns.judges.pair_blocks import over_pairs
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.numerics.groups import places
from recbole_dtlns.teachers.council import Opinions
from recbole_dtlns.teachers.spectral import LowPass

_WITHOUT_TREES = (
    "score",
    "score_gap",
    "rank",
    "popularity",
    "co_occurrence",
    "co_occurrence_rank",
    "spectral_rank",
    "history_length",
)


_WITH_COUNCIL = ("popularity", "history_length")
_OF_MEMBER = ("rank", "nearness", "strength")
_OF_TEXT = ("text_nearest", "text_mean")
_OF_ORDER = ("transition", "transition_rank", "recency")


def feature_names(
    views: Iterable[str], members: Sequence[str] = (), text: bool = False, order: bool = False
) -> tuple[str, ...]:
    """What `pair_features` gives for a question with these views, the opinions of these teachers, text and order."""
    overlaps = (f"{view}_overlap" for view in views)
    further = (*(_OF_TEXT if text else ()), *(_OF_ORDER if order else ()))
    if not members:
        return (*overlaps, *_WITHOUT_TREES, *further)
    of_members = (f"{member}_{what}" for what in _OF_MEMBER for member in members)
    return (*overlaps, *_WITH_COUNCIL, *of_members, *further)


def columns_by_member(views: Iterable[str], members: Sequence[str]) -> dict[str, list[int]]:
    """Columns of `pair_features` that hold what each of several teachers thinks, by teacher."""
    names = feature_names(views, members)
    return {member: [names.index(f"{member}_{what}") for what in _OF_MEMBER] for member in members}


def pair_features(question: Question, text: bool = False, order: bool = False) -> np.ndarray:
    """Features of every candidate pair, in the order of `feature_names`.

    - `structure_overlap`, `semantic_overlap`, and so for every view: largest similarity to the history in its tree (0
      where a path is missing);
    - `score`: the teacher's score; `score_gap`: how far it is below the user's best candidate;
    - `rank`: log(1 + the teacher's rank);
    - `popularity`, `history_length`: log(1 + train count) of item and user, less its mean over all items and users, so
      that hiding some pairs does not shift it;
    - `co_occurrence`: sum of the item graph's weights between candidate and history, over history length;
    - `co_occurrence_rank`, `spectral_rank`: log(1 + the rank) that these weights, and a low-pass filter of the
      interaction graph (`spectral_scores`), would give the candidate among the user's candidates. Teachers that err
      otherwise than the one that chose the candidates are worth more together than the best of them.

    Where several teachers were asked, what each thinks of the pair takes the place of `score`, `score_gap`, `rank`, the
    co-occurrence and the filter: log(1 + rank), 1 / (1 + rank), and its score over that of its best item of the user.

    Where texts are looked at: `text_nearest`, `text_mean`, the largest and the mean cosine between the candidate's text
    vector and those of the history; 0 where either says nothing.

    Where the order of histories is looked at: `transition`, the weight of the candidate after the user's last items
    (`Order`); `transition_rank`, log(1 + the rank) that it would give the candidate among the user's; and
    `recency`, how recent the items are that it shares users with (`Order`).

    Args:
        question: with candidates.
        text: whether texts are looked at, where the items have any.
        order: whether the order of histories is looked at, where the data hold times.

    Returns:
        float32 [n_pairs, 8 + views], or [n_pairs, 2 + views + 3 members], 2 more for texts and 3 for order.
    """
    return over_pairs(_features, KnownOfPairs.of(question, text, order), question, "features")["features"]


@dataclass(frozen=True)
class KnownOfPairs:
    """What the features of all pairs are made from, found once.

    Attributes:
        question: about no pair, without what features are not made from.
        measures: compare candidates with histories: in every view and, where one teacher was asked, in the item graph.
        popularity, length: log(1 + train count) of items and users, less its mean, [n_items] and [n_users].
        low_pass: where one teacher was asked.
        text: vectors of length 1 or 0, float32 [n_items, d], where texts are looked at.
        order: where the order of histories is looked at.
    """

    question: Question
    measures: tuple[Measure, ...]
    popularity: np.ndarray
    length: np.ndarray
    low_pass: LowPass | None
    text: np.ndarray | None
    order: Order | None

    @classmethod
    def of(cls, question: Question, text: bool = False, order: bool = False) -> KnownOfPairs:
        """What is known of a question's pairs; arguments as for `pair_features`."""
        train, alone = question.train, question.opinions is None
        popularity = np.log1p(np.asarray(train.matrix.sum(axis=0)).ravel())
        length = np.log1p(np.diff(train.matrix.indptr))
        return cls(
            question.bare(),
            (*map(TreeSimilarity, question.views.values()), *([CoOccurrence(train)] if alone else [])),
            popularity - popularity.mean(),
            length - length.mean(),
            LowPass.of(train) if alone else None,
            unit_rows(train.text_vectors) if text and train.content is not None else None,
            Order.of(train) if order and train.times is not None else None,
        )

    def features(self, pairs: Pairs) -> np.ndarray:
        """As `pair_features`, of whole users."""
        question = self.question.asking(pairs)
        found = [
            self._without_council(question)
            if question.opinions is None
            else self._of_council(question.opinions, question)
        ]
        if self.text is not None:
            found.append(text_similarity(question, self.text))
        if self.order is not None:
            transition = self.order.transition_scores(question.candidates)
            ranks = np.log1p(_ranks(question.candidates.users, transition))
            columns = [transition, ranks, self.order.recency(question.candidates)]
            found.append(np.stack(columns, axis=1).astype(np.float32))
        return np.concatenate(found, axis=1)

    def _without_council(self, question: Question) -> np.ndarray:
        candidates = question.candidates
        users, items = candidates.users, candidates.items
        lengths = np.diff(question.train.matrix.indptr)
        first = np.searchsorted(users, users)
        *overlaps, together = over_history(question, *self.measures)
        assert self.low_pass is not None
        columns = (
            *(np.maximum(overlap, 0) for overlap in overlaps),
            candidates.scores,
            candidates.scores[first] - candidates.scores,
            np.log1p(candidates.ranks),
            self.popularity[items],
            together / np.maximum(lengths[users], 1),
            np.log1p(_ranks(users, together)),
            np.log1p(_ranks(users, self.low_pass.scores(users, items))),
            self.length[users],
        )
        return np.stack(columns, axis=1).astype(np.float32)

    def _of_council(self, opinions: Opinions, question: Question) -> np.ndarray:
        candidates = question.candidates
        views, members = len(question.views), len(opinions.names)
        features = np.empty((len(candidates), views + len(_WITH_COUNCIL) + len(_OF_MEMBER) * members), dtype=np.float32)
        for column, overlap in enumerate(over_history(question, *self.measures)):
            features[:, column] = np.maximum(overlap, 0)
        features[:, views] = self.popularity[candidates.items]
        features[:, views + 1] = self.length[candidates.users]
        # Ranks are few different numbers: their logarithms and reciprocals are looked up.
        places = np.arange(opinions.ranks.max(initial=0) + 1, dtype=np.float32)
        first = views + len(_WITH_COUNCIL)
        np.take(np.log1p(places), opinions.ranks, out=features[:, first : first + members])
        np.take(1 / (1 + places), opinions.ranks, out=features[:, first + members : first + 2 * members])
        features[:, first + 2 * members :] = opinions.strengths
        return features


def _features(known: KnownOfPairs, pairs: Pairs) -> dict[str, np.ndarray]:
    return {"features": known.features(pairs)}


def _ranks(users: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rank of every pair by its score among its user's pairs, from 0; of equal ones in the order given."""
    order = np.lexsort((-scores, users))  # stable
    ranks = np.empty_like(order)
    ranks[order] = places(users)
    return ranks
