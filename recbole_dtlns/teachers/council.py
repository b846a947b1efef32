"""Several teachers asked together: their candidates are joined, and what each thinks of every pair is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_dtlns.blocks.work import over_blocks
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.numerics.groups import places, stretches
from recbole_dtlns.teachers.contract import Candidates, FittedTeacher, Teacher, top_candidates

_USERS_AT_ONCE = 2048
_DAMPING = 60  # of reciprocal ranks, as published


@dataclass(frozen=True)
class Opinions:
    """What the members of a council think of pairs.

    Attributes:
        names: of the members.
        ranks: of every pair in every member's list of its user, from 0; the length of a full list where the pair is
            not in it, int16 [n_pairs, n_members].
        strengths: the member's score over that of its best item of the user, within [-1, 1]; that of the last item of
            the list where the pair is not in it, float32 [n_pairs, n_members].
        of_text: names of the members that look at what items say.
        of_order: names of the members that look at the order of histories.
    """

    names: tuple[str, ...]
    ranks: np.ndarray
    strengths: np.ndarray
    of_text: tuple[str, ...] = ()
    of_order: tuple[str, ...] = ()

    def of(self, pairs: np.ndarray | slice) -> Opinions:
        """Those of some of the pairs: positions, a mask, or a stretch of them."""
        return replace(self, ranks=self.ranks[pairs], strengths=self.strengths[pairs])

    def without(self, name: str) -> Opinions:
        """Those of the other members."""
        others = [place for place, other in enumerate(self.names) if other != name]
        return Opinions(
            tuple(self.names[place] for place in others),
            self.ranks[:, others],
            self.strengths[:, others],
            tuple(other for other in self.of_text if other != name),
            tuple(other for other in self.of_order if other != name),
        )


class Council(Teacher):
    """Several teachers as one: what they put first between them, by reciprocal rank fusion (Cormack et al., 2009).

    Which of them to believe is for a judge to learn; this order is what remains where nothing can be learnt.

    Args:
        members: the teachers by name; the first one's item vectors are the council's.
        depth: items of each member's lists that are looked at.
    """

    version = 1

    def __init__(self, members: Mapping[str, Teacher], depth: int) -> None:
        super().__init__()
        if not members:
            raise ConfigError("dtlns_teachers names no teacher")
        self.members, self.depth = dict(members), depth
        self.saved = any(member.saved for member in members.values())
        self.reads_text = any(member.reads_text for member in members.values())
        self.reads_order = any(member.reads_order for member in members.values())

    def inputs(self) -> dict[str, Any]:
        members = {name: [member.version, member.inputs()] for name, member in self.members.items()}
        return {"teacher": "council", "members": members, "depth": self.depth}

    def fit(self, train: TrainInteractions) -> FittedTeacher:
        """Fit every member."""
        return _FittedCouncil(train, {name: one.fit(train) for name, one in self.members.items()}, self.depth)


class _FittedCouncil:
    """Fused reciprocal ranks of the members' lists."""

    def __init__(self, train: TrainInteractions, members: Mapping[str, FittedTeacher], depth: int) -> None:
        lists = {name: top_candidates(fitted, train, depth) for name, fitted in members.items()}
        found, _ = joined(lists, train, depth, depth)
        shape = (train.n_users, train.n_items)
        self._scores = sp.csr_array((found.scores, (found.users, found.items)), shape=shape)
        self.item_vectors = next(iter(members.values())).item_vectors

    def scores(self, users: np.ndarray) -> sp.csr_array:
        """Fused scores, CSR [B, n_items]."""
        return self._scores[users]


def joined(
    lists: Mapping[str, Candidates],
    train: TrainInteractions,
    k: int,
    depth: int,
    progress: Callable[[int], object] = lambda users: None,
) -> tuple[Candidates, Opinions]:
    """Join the first k of every member's list, and look each pair up in all lists.

    Args:
        lists: by member, each user's best items, at most `depth`; a member without any is left out.
        train: the train interactions that the lists are of.
        k: candidates that each member names per user.
        depth: length of a full list.
        progress: called with the number of users just done.

    Returns:
        the candidates in the order of fused reciprocal ranks, sum over members of 1 / (60 + rank + 1), which are their
        scores too, equal ones by item; and the members' opinions of them.

    Raises:
        DataError: no member found anything.
    """
    asked = {name: found for name, found in lists.items() if len(found)}
    if not asked:
        raise DataError(
            f"none of the teachers {', '.join(lists)} found a candidate: no two users share an item in train"
        )
    blocks = stretches(train.n_users, _USERS_AT_ONCE)
    columns = over_blocks(
        _joined_of_users,
        _Council(train.n_items, k, depth),
        blocks,
        "council",
        progress,
        lambda users: [_rows(found, users.start, users.stop) for found in asked.values()],
    )
    candidates = Candidates(columns["users"], columns["items"], columns["places"], columns["scores"])
    return candidates, Opinions(tuple(asked), columns["ranks"], columns["strengths"])


@dataclass(frozen=True)
class _Council:
    n_items: int
    k: int
    depth: int


def _joined_of_users(council: _Council, lists: list[Candidates]) -> dict[str, np.ndarray]:
    columns = _joined_block(lists, council.n_items, council.k, council.depth)
    return dict(zip(("users", "items", "places", "scores", "ranks", "strengths"), columns, strict=True))


def _rows(found: Candidates, start: int, stop: int) -> Candidates:
    """Those of the users from start to stop."""
    first, last = np.searchsorted(found.users, np.array([start, stop], dtype=found.users.dtype))
    return found.of(slice(first, last))


def _joined_block(lists: list[Candidates], n_items: int, k: int, depth: int) -> tuple[np.ndarray, ...]:
    """Users, items, places, fused scores, ranks and strengths of some users' pairs, ordered as `joined` says."""
    keys = [found.users.astype(np.int64) * n_items + found.items for found in lists]
    pairs = np.unique(np.concatenate([key[found.ranks < k] for key, found in zip(keys, lists, strict=True)]))
    users, items = np.divmod(pairs, n_items)
    ranks = np.full((len(pairs), len(lists)), depth, dtype=np.int16)
    strengths = np.zeros((len(pairs), len(lists)), dtype=np.float32)
    fused = np.zeros(len(pairs))
    for member, (key, found) in enumerate(zip(keys, lists, strict=True)):
        if len(found) == 0:
            continue
        first = np.searchsorted(found.users, found.users)
        strength = np.clip(found.scores / np.maximum(found.scores[first], np.finfo(np.float32).tiny), -1, 1)
        last = np.searchsorted(found.users, users, side="right") - 1
        own = (last >= 0) & (found.users[last] == users)  # users of whom the member has a list
        strengths[own, member] = strength[last[own]]
        place = np.minimum(np.searchsorted(pairs, key), len(pairs) - 1)
        named = pairs[place] == key
        ranks[place[named], member] = found.ranks[named]
        strengths[place[named], member] = strength[named]
        fused[place[named]] += 1 / (_DAMPING + 1 + found.ranks[named])
    order = np.lexsort((items, -fused, users))
    users, items = users[order].astype(np.int32), items[order].astype(np.int32)
    place = places(users).astype(np.int32)
    return users, items, place, fused[order].astype(np.float32), ranks[order], strengths[order]
