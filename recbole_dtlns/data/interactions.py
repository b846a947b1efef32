"""Train interactions in an order that depends on nothing but themselves.

RecBole numbers users and items in the order in which they appear in *all* splits, so its ids
change with validation and test pairs. Every stage before training works in the *canonical* ids
defined here instead: positions in the sorted list of the tokens that occur in the train split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.errors import DataError
from recbole_dtlns.numerics.groups import stretches

_TOKENS_AT_ONCE = 100_000
_NUMBERS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class TrainInteractions:
    """The observed train pairs, binary, in canonical ids.

    Attributes:
        user_tokens: sorted tokens of the users that have a train pair, shape [n_users].
        item_tokens: sorted tokens of the items that have a train pair, shape [n_items].
        matrix: binary user-item matrix, CSR float32 [n_users, n_items], indices sorted, of 32 bits where they do.
        duplicates: how many repeated pairs were merged.
        times: when each pair happened (a repeated one: last), float64 [n_pairs] in the order of `histories`, -inf where
            that is missing; None where the data do not say. It is not part of the fingerprint: what depends on it is
            kept by what it saw of it, such as the order (`ages`).
        rows: where each pair (a repeated one: the last) stands in the data, int64 [n_pairs] in the order of
            `histories`: what comes first of pairs of one time; None where there are no times. It is no part of the
            fingerprint.
        content: what is said of the items; None where nothing is. It is no part of the fingerprint either: what looks
            at it is kept by what it saw.
        disliked: the pairs that the data label as not liked, binary as `matrix`, and none of its; None where there are
            none. They are nobody's positives, and no candidates either, for nothing about them is unknown.
        user_texts: what is said of the users, one line each in canonical order, empty for one of whom nothing is said;
            empty where no field of the .user file is read. No part of the fingerprint, as `content`.
    """

    user_tokens: np.ndarray
    item_tokens: np.ndarray
    matrix: sp.csr_array
    duplicates: int = 0
    times: np.ndarray | None = None
    rows: np.ndarray | None = None
    content: ItemContent | None = None
    disliked: sp.csr_array | None = None
    user_texts: tuple[str, ...] = ()

    @classmethod
    def from_tokens(
        cls,
        users: np.ndarray,
        items: np.ndarray,
        times: np.ndarray | None = None,
        liked: np.ndarray | None = None,
    ) -> TrainInteractions:
        """Build from one token per pair (two arrays of strings of the same length) and, if known, its time.

        Args:
            users, items: tokens [n].
            times: float [n].
            liked: whether the user liked the item, bool [n]; None where the data do not label pairs. Of a pair with
                both labels, that it was liked counts.

        Raises:
            DataError: there is no pair at all, or none that is liked.
        """
        if liked is not None and not liked.all():
            return cls._labelled(np.asarray(users, dtype=str), np.asarray(items, dtype=str), times, liked)
        users, items = np.asarray(users, dtype=str), np.asarray(items, dtype=str)
        if len(users) != len(items):
            raise DataError(f"{len(users)} user tokens but {len(items)} item tokens: one of each per pair is needed")
        if len(users) == 0:
            raise DataError(
                "the train split is empty: check data_path, the filters (user_inter_num_interval, val_interval) "
                "and the split ratios in eval_args"
            )
        user_tokens, rows = np.unique(users, return_inverse=True)
        item_tokens, columns = np.unique(items, return_inverse=True)
        matrix = _counted(rows, columns, (len(user_tokens), len(item_tokens)))
        duplicates = len(rows) - matrix.nnz
        matrix.data[:] = 1.0
        if times is None:
            return cls(user_tokens, item_tokens, matrix, duplicates)
        order = np.lexsort((times, columns, rows))
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (np.diff(rows[order]) != 0) | (np.diff(columns[order]) != 0)
        kept = order[last]
        return cls(user_tokens, item_tokens, matrix, duplicates, np.asarray(times, dtype=np.float64)[kept], kept)

    @classmethod
    def _labelled(
        cls, users: np.ndarray, items: np.ndarray, times: np.ndarray | None, liked: np.ndarray
    ) -> TrainInteractions:
        if len(liked) and not liked.any():
            raise DataError(
                f"all {len(liked)} rows of train are labelled 0, so nobody likes anything: check threshold, or the "
                "column of labels"
            )
        found = cls.from_tokens(users[liked], items[liked], None if times is None else times[liked])
        if found.rows is not None:
            found = replace(found, rows=np.flatnonzero(liked)[found.rows])
        known = ~liked & np.isin(users, found.user_tokens) & np.isin(items, found.item_tokens)
        rows, columns = (
            np.searchsorted(tokens, names[known])
            for tokens, names in ((found.user_tokens, users), (found.item_tokens, items))
        )
        keys = np.setdiff1d(rows * found.n_items + columns, found.pair_keys)
        disliked = _counted(keys // found.n_items, keys % found.n_items, found.matrix.shape)
        return replace(found, disliked=disliked if len(keys) else None)

    @property
    def n_users(self) -> int:
        return len(self.user_tokens)

    @property
    def n_items(self) -> int:
        return len(self.item_tokens)

    @property
    def text_vectors(self) -> np.ndarray:
        """What is said of the items as vectors, float32 [n_items, d]; a row of zeros for an item without text.

        Raises:
            ConfigError: there are none.
        """
        return (self.content or ItemContent.silent(self.n_items)).vectors

    @cached_property
    def ages(self) -> np.ndarray:
        """How many pairs of the same user come after each, int64 [n_pairs] in the order of `histories`: 0 for the last.

        Pairs without a time come first. Of one time, the order is that of the rows, which is the file's unless
        `eval_args` shuffles it, as in the sequences that RecBole makes; where rows are not known, that of the items.

        Raises:
            DataError: the data hold no times.
        """
        if self.times is None:
            raise DataError(
                "the order of each user's pairs is needed, and the data hold no times: name the TIME_FIELD (timestamp) "
                "in load_col"
            )
        users, items = self.histories()
        order = np.lexsort((items if self.rows is None else self.rows, self.times, users))
        ages = np.empty_like(order)
        ages[order] = self.matrix.indptr[1:][users] - 1 - np.arange(len(order))
        return ages

    @cached_property
    def labelled(self) -> sp.csr_array:
        """The pairs of which it is known whether they are liked, binary as `matrix`: no candidates."""
        return self.matrix if self.disliked is None else sp.csr_array(self.matrix + self.disliked)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over tokens and pairs: equal if and only if the train splits are equal."""
        digest = hashlib.sha256()
        for tokens in (self.user_tokens, self.item_tokens):
            for some in stretches(len(tokens), _TOKENS_AT_ONCE):
                encoded = [token.encode() for token in tokens[some].tolist()]
                digest.update(b"".join(len(token).to_bytes(4, "little") + token for token in encoded))
            digest.update(b"|")
        for pairs in [self.matrix] if self.disliked is None else [self.matrix, self.disliked]:
            for part in (pairs.indptr, pairs.indices):
                for some in stretches(len(part), _NUMBERS_AT_ONCE):
                    digest.update(part[some].astype("<i8", copy=False).data)
        return digest.hexdigest()

    def without(self, hidden: np.ndarray) -> TrainInteractions:
        """The same users and items with some pairs removed; canonical ids stay.

        Args:
            hidden: for every pair in the order of `histories`, whether to remove it, bool [n_pairs].
        """
        kept = ~hidden
        items = self.matrix.indices[kept]
        start = np.append(0, np.cumsum(kept))[self.matrix.indptr].astype(self.matrix.indptr.dtype)
        matrix = sp.csr_array((np.ones(len(items), dtype=np.float32), items, start), shape=self.matrix.shape)
        times, rows = (None if column is None else column[kept] for column in (self.times, self.rows))
        return replace(self, matrix=matrix, duplicates=0, times=times, rows=rows)

    def histories(self) -> tuple[np.ndarray, np.ndarray]:
        """All pairs as (user, item) canonical ids, int64 [n_pairs] each, ordered by user then item."""
        users = np.repeat(np.arange(self.n_users), np.diff(self.matrix.indptr))
        return users, self.matrix.indices.astype(np.int64)

    @cached_property
    def pair_keys(self) -> np.ndarray:
        """One number per pair, user * n_items + item, ascending, int64 [n_pairs] in the order of `histories`."""
        users, items = self.histories()
        return users * self.n_items + items

    def places(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Where pairs stand in the order of `histories`, int64 [B]; -1 for those that are not observed.

        Args:
            users, items: canonical ids [B]; negative for what is not in train.
        """
        keys = np.where((users >= 0) & (items >= 0), users * np.int64(self.n_items) + items, -1)
        place = np.minimum(np.searchsorted(self.pair_keys, keys), len(self.pair_keys) - 1)
        found: np.ndarray = np.where(self.pair_keys[place] == keys, place, -1)
        return found


def _counted(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    """How often each pair is named, CSR float32, indices sorted: of 32 bits where they do, half of what 64 take."""
    kind = np.int32 if max(len(rows), *shape) < 2**31 else np.int64
    ones = np.ones(len(rows), dtype=np.float32)
    matrix = sp.csr_array((ones, (rows.astype(kind), columns.astype(kind))), shape=shape)
    matrix.sum_duplicates()
    return matrix
