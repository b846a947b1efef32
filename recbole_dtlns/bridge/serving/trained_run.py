"""A trained model, asked by token."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.serving.kept_data import TEST, TRAIN, VALID, KeptData
from recbole_dtlns.bridge.serving.scores import ModelScores, ProductScores, product_scores
from recbole_dtlns.bridge.serving.sequences import Sequences
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError, DataError, UnsupportedModelError
from recbole_dtlns.serving.histories import Histories
from recbole_dtlns.serving.ranking import Excluded, Scores, rank
from recbole_dtlns.serving.recommendations import Recommendations
from recbole_dtlns.serving.tokens import Tokens
from recbole_dtlns.serving.vector_files import Vectors
from recbole_dtlns.training.checkpoint import Provenance

logger = logging.getLogger("recbole_dtlns")

Exclusion = str | None | Mapping[str, Iterable[str]] | Sequence[str]
OBSERVED, EVALUATION = "observed", "evaluation"


class TrainedRun:
    """What `load_run` gives: the best model of a run, by token.

    Attributes:
        folder: of the run.
        config: every setting, as plain data.
        metrics: of the run, `valid` and `test`; None where it measured none.
        leaking: whether its protocol let test pairs through, so that the metrics are none of the model's.
        refit: whether it was trained on validation's pairs too.
        train_fingerprint: of the pairs that it was trained on.
        kept: what the folder holds of the data set.
        model: RecBole's, in evaluation mode, on its device.
        users, items: tokens of those that it knows, in the order of their vectors.
        columns: what the data set calls users and items.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        metrics: Mapping[str, Any],
        provenance: Provenance,
        model: AbstractRecommender,
        scores: ModelScores,
        kept: KeptData,
    ) -> None:
        self.folder, self.config, self.metrics, self.model = folder, config, metrics, model
        self.leaking, self.refit = provenance.leaking, provenance.refit
        self.train_fingerprint, self.kept = provenance.train_fingerprint, kept
        self.columns = (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"])
        self._users, self._items = (
            Tokens(kind, kept.tokens[field]) for kind, field in zip(("users", "items"), self.columns, strict=True)
        )
        self._asked = scores
        self._observed = kept.observed

    @property
    def users(self) -> np.ndarray:
        return self._users.known

    @property
    def items(self) -> np.ndarray:
        return self._items.known

    def recommend(
        self,
        users: Iterable[str],
        k: int = 10,
        exclude: Exclusion = OBSERVED,
        candidates: Iterable[str] | None = None,
    ) -> Recommendations:
        """The k items that the model puts first for each user.

        Args:
            users: tokens; one that is a string stands for itself.
            k: length of the lists; they are shorter where fewer items are left.
            exclude: what is not recommended. `observed`: all that the data set holds of the user, in train, validation
                and test; `evaluation`: what the metrics on test, and RecBole's `full_sort_topk`, leave out, which is
                train and validation; None: nothing. Else tokens: items by user, or items for every user; those
                that the model does not know are never recommended anyway.
            candidates: items that may be recommended, such as those in stock; None for all.

        Raises:
            ConfigError: k or `exclude` is none of these.
            DataError: users are unknown, or all candidates are.
        """
        ids = self._users.known_ids(users)
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool):
            raise ConfigError(f"k is {k!r}: a whole number of items must be asked for")
        if k < 1:
            raise ConfigError(f"k is {k}: at least one item must be asked for")
        blocks = list(rank(self._scores, ids, k, self._excluded(exclude), self._candidates(candidates)))
        if not blocks:
            nothing = np.zeros((0, k))
            return Recommendations(self._users.by_id[ids], nothing.astype(object), nothing, self.columns)
        items = np.concatenate([block.items for block in blocks])
        tokens = self._items.by_id[np.maximum(items, 0)]
        tokens[items < 0] = None
        scores = np.concatenate([block.scores for block in blocks])
        return Recommendations(self._users.by_id[ids], tokens, scores, self.columns)

    def following(self, histories: Mapping[str, Sequence[str]]) -> TrainedRun:
        """The same model, asked what follows sequences that are given; its users are theirs.

        Args:
            histories: items of every user in their order, the latest last, by token. Items that the model does not know
                are passed over, and of longer ones the last MAX_ITEM_LIST_LENGTH are read.

        Raises:
            UnsupportedModelError: the model reads no sequences, or knows users, and some of these are new.
            DataError: there is no history, or one holds no item that the model knows.
        """
        kept, name = self.kept.sequences, type(self.model).__name__
        if kept is None:
            raise UnsupportedModelError(
                f"{name} knows its users, and asks for no history: recommend to users of the run, or train a "
                "sequential model, such as SASRec"
            )
        if not histories:
            raise DataError("no history is given")
        items = [self._items.ids(history) for history in histories.values()]
        known = [ids[ids > 0] for ids in items]
        if empty := [user for user, ids in zip(histories, known, strict=True) if not len(ids)]:
            raise DataError(
                f"{len(empty)} of {len(histories)} histories (the first: that of {empty[0]}) hold no item that the "
                "model knows: leave them out"
            )
        owners = np.append(0, np.maximum(self._users.ids(histories), 0))
        if capability(type(self.model)).reads_users and (new := int((owners[1:] == 0).sum())):
            raise UnsupportedModelError(
                f"{name} has vectors of users beside those of sequences, and {new} of {len(histories)} are new to it: "
                "leave them out, or train a model without, such as SASRec"
            )
        if passed := sum(map(len, items)) - sum(map(len, known)):
            logger.warning("%d items in the histories are unknown to the model, and passed over", passed)
        other = copy.copy(self)
        for cached in ("_products", "vectors", "_evaluation_mask"):
            vars(other).pop(cached, None)
        other._users = Tokens("users", np.array(["[PAD]", *histories], dtype=object))
        rows = np.repeat(np.arange(1, len(known) + 1), [len(ids) for ids in known])
        pairs, nothing = PairSet.of(rows, np.concatenate(known)), PairSet.none()
        other._observed = {
            part: Histories.of(pairs if part == TRAIN else nothing, len(owners)) for part in self._observed
        }
        first = np.array([], dtype=np.int64)
        other._asked = self._asked.about(Sequences.given([first, *known], owners, kept.items.shape[1]))
        return other

    def _candidates(self, tokens: Iterable[str] | None) -> np.ndarray | None:
        if tokens is None:
            return None
        ids = np.unique(self._items.ids(tokens))
        ids = ids[ids > 0]
        if len(ids) == 0:
            raise DataError("no candidate is an item that the model was trained on: are they of another data set?")
        return ids

    def score(self, users: Iterable[str], items: Iterable[str]) -> np.ndarray:
        """The model's scores of pairs, float32 [n]: of the first user and the first item, and so on.

        Raises:
            DataError: there are not as many users as items, or some are unknown.
        """
        of_users, of_items = self._users.known_ids(users), self._items.known_ids(items)
        if len(of_users) != len(of_items):
            raise DataError(f"{len(of_users)} users and {len(of_items)} items: one of each per pair is needed")
        return self._scores.pairs(of_users, of_items).cpu().numpy().astype(np.float32)

    def history(self, user: str) -> list[str]:
        """The items of one user in train, validation and test, which `exclude="observed"` leaves out."""
        (found,) = self._users.known_ids([user])
        items = np.concatenate([histories.of_user(found) for histories in self._known_histories(OBSERVED)])
        return self._items.by_id[np.unique(items)].tolist()

    def items_of(self, user: str, part: str) -> list[str]:
        """The items of one user in a part of the data: `train`, `hidden`, `valid` or `test`."""
        (found,) = self._users.known_ids([user])
        return self._items.by_id[self._observed[part].of_user(found)].tolist()

    def known_from(self, user: str, item: str) -> list[str]:
        """The parts of the data in which the user has the item."""
        return [part for part in self._observed if item in self.items_of(user, part)]

    def parted(self, tokens: Sequence[str], of_items: bool = False) -> tuple[list[str], str]:
        """The users, or items, that the model knows, and, where some are unknown, what to say of those."""
        vocabulary = self._items if of_items else self._users
        known: dict[bool, list[str]] = {True: [], False: []}
        for token, place in zip(tokens, vocabulary.ids(tokens).tolist(), strict=True):
            known[place > 0].append(token)
        return known[True], vocabulary.unknown(known[False]) if known[False] else ""

    @cached_property
    def _products(self) -> ProductScores | None:
        return product_scores(self.model, self._asked)

    @property
    def _scores(self) -> Scores:
        return self._products or self._asked

    @property
    def user_vectors(self) -> np.ndarray:
        """Of `users`, float32 [n_users, d]: what is multiplied, so a graph model's are propagated.

        Raises:
            UnsupportedModelError: the model's scores are no products of two vectors.
        """
        return self.vectors.of_users

    @property
    def item_vectors(self) -> np.ndarray:
        """Of `items`, float32 [n_items, d].

        Raises:
            UnsupportedModelError: the model's scores are no products of two vectors.
        """
        return self.vectors.of_items

    @cached_property
    def vectors(self) -> Vectors:
        """Both, with their tokens. They may be the model's own, so they are not to be written into.

        Raises:
            UnsupportedModelError: the model's scores are no products of two vectors.
        """
        if self._products is None:
            name, able = type(self.model).__name__, capability(type(self.model))
            why = able.no_layers or able.why or "predicts otherwise than the model that it inherits from"
            raise UnsupportedModelError(
                f"{name} has no vectors whose products are its scores: it {why}. Its recommendations: "
                f"recbole-dtlns recommend {self.folder}"
            )
        users, items = (table[1:].float().cpu().numpy() for table in (self._products.users, self._products.items))
        for table in (users, items):
            table.setflags(write=False)
        return Vectors(self.users, self.items, users, items)

    def _excluded(self, exclude: Exclusion) -> Excluded:
        if exclude is None:
            return Excluded()
        if isinstance(exclude, str):
            return Excluded(self._known_histories(exclude))
        if isinstance(exclude, pd.DataFrame):  # it would be taken for the names of its columns
            raise ConfigError(
                "exclude is a table: items by user are due, such as "
                f"table.groupby('{self.columns[0]}')['{self.columns[1]}'].agg(list).to_dict()"
            )
        if not isinstance(exclude, Mapping):
            items = self._items.ids(exclude)
            return Excluded(items=items[items > 0])
        tokens = [
            (user, item)
            for user, items in exclude.items()
            for item in ([items] if isinstance(items, str) else items)  # a string's letters are no items
        ]
        users, items = (
            vocabulary.ids([pair[place] for pair in tokens])
            for place, vocabulary in enumerate((self._users, self._items))
        )
        known = (users > 0) & (items > 0)
        return Excluded([Histories.of(PairSet.of(users[known], items[known]), len(self._users))])

    def _known_histories(self, which: str) -> list[Histories]:
        if which not in (OBSERVED, EVALUATION):
            raise ConfigError(
                f"exclude is '{which}': it must be '{OBSERVED}', '{EVALUATION}', None, items by user, or items"
            )
        return [self._evaluation_mask] if which == EVALUATION else list(self._observed.values())

    @cached_property
    def _evaluation_mask(self) -> Histories:
        """RecBole's for test: train and validation, without what the user met again in test."""
        n_users = len(self._users)
        if self.config["repeatable"]:  # what users have is offered to them again
            return Histories.of(PairSet.of(np.array([]), np.array([])), n_users)
        train, valid, test = (self._observed[part].pairs() for part in (TRAIN, VALID, TEST))
        known, width = train.union(valid), len(self._items)
        again = np.isin(known.users * width + known.items, test.users * width + test.items)
        return Histories.of(known.where(~again), n_users)
