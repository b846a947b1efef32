"""A comparison by groups: users by the length of their history, pairs to be found by how often their item occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from recbole_dtlns.evaluation.bounded_groups import Bounds, parted, up_to
from recbole_dtlns.evaluation.significance import flips_for, holm, paired_test
from recbole_dtlns.studies.compare.comparison import Change, Grouped, GroupKind

PLACE, COUNT = "place", "train_pairs"


class Ranked(Protocol):
    """One run of an arm.

    Attributes:
        users: by user token: every metric, and `history`.
        pairs: to be found: user_id, item_id, `train_pairs` of the item, and its `place` in the list, from 1 on, 0 where
            it is not there. None of a run that did not write it.
    """

    @property
    def users(self) -> pd.DataFrame: ...

    @property
    def pairs(self) -> pd.DataFrame | None: ...


@dataclass(frozen=True)
class Wanted:
    """What is to be compared.

    Attributes:
        groups: bounds by kind, ascending.
        metrics: by user, for groups of users.
        topk: lengths of list, for groups of pairs.
        baseline: the arm that others are tested against.
        test: permutation or wilcoxon.
    """

    groups: Mapping[GroupKind, Sequence[int]]
    metrics: Sequence[str]
    topk: Sequence[int]
    baseline: str
    test: Literal["permutation", "wilcoxon"]


def grouped(split: str, by_arm: Mapping[str, Sequence[Ranked]], wanted: Wanted) -> list[Grouped]:
    """The arms in every group, tested against the baseline; the tests of a split are corrected together (Holm).

    Args:
        split: name of the split.
        by_arm: the runs of every arm, of each seed one; arms that leak are left out.
        wanted: what is to be compared.
    """
    found: list[tuple[Grouped, dict[str, np.ndarray]]] = []
    if bounds := wanted.groups.get("history"):
        found += _of_users(split, by_arm, bounds, wanted.metrics)
    if bounds := wanted.groups.get("popularity"):
        found += _of_pairs(split, by_arm, bounds, wanted.topk)
    return _tested(found, wanted)


_Values = tuple[Grouped, dict[str, np.ndarray]]  # a group, and by arm a value of each user in it


def _of_users(
    split: str, by_arm: Mapping[str, Sequence[Ranked]], bounds: Sequence[int], metrics: Sequence[str]
) -> list[_Values]:
    tables = {
        arm: pd.concat([run.users[[*metrics, "history"]] for run in runs]).groupby(level=0).mean()
        for arm, runs in by_arm.items()
    }
    users = _common(tables)
    history = _largest(tables, users, "history")
    found = []
    for group in parted(bounds):
        mine = users[group.holds(history)]
        for metric in metrics:
            values = {arm: table.loc[mine, metric].to_numpy() for arm, table in tables.items()}
            means = {arm: float(np.nanmean(own)) for arm, own in values.items() if len(own)}
            found.append((_group(split, "history", group, metric, len(mine), None, means), values))
    return found


def _of_pairs(
    split: str, by_arm: Mapping[str, Sequence[Ranked]], bounds: Sequence[int], topk: Sequence[int]
) -> list[_Values]:
    tables = {arm: _mean_over_seeds([run.pairs for run in runs], topk) for arm, runs in by_arm.items()}
    known = {arm: table for arm, table in tables.items() if table is not None}
    if not known:
        return []
    pairs = _common(known)
    counts = _largest(known, pairs, COUNT)
    found = []
    for group in [*parted(bounds), *up_to(bounds), Bounds(0, None)]:
        mine = pairs[group.holds(counts)]
        users = mine.get_level_values(0)
        for k in topk:
            of_pairs = {arm: table.loc[mine, f"found@{k}"] for arm, table in known.items()}
            # Counted by user, so that the mean of the differences is that of the shares, but for a factor.
            values = {arm: own.groupby(level=0).sum().to_numpy() for arm, own in of_pairs.items()}
            means = {arm: float(own.mean()) for arm, own in of_pairs.items() if len(own)}
            about = _group(split, "popularity", group, f"found@{k}", users.nunique(), len(mine), means)
            found.append((about, values))
    return found


def _mean_over_seeds(tables: Sequence[pd.DataFrame | None], topk: Sequence[int]) -> pd.DataFrame | None:
    """Of every pair the share of the seeds that find it, by user and item."""
    found = []
    for table in tables:
        if table is None:
            return None
        own = table.set_index(["user_id", "item_id"])
        shares = {f"found@{k}": ((own[PLACE] > 0) & (own[PLACE] <= k)).astype(float) for k in topk}
        found.append(pd.DataFrame({COUNT: own[COUNT], **shares}))
    return pd.concat(found).groupby(level=[0, 1]).mean()


def _common(tables: Mapping[str, pd.DataFrame]) -> pd.Index:
    """What all arms have, in one order."""
    first, *others = tables.values()
    index = first.index
    for table in others:
        index = index.intersection(table.index)
    return index.sort_values()


def _largest(tables: Mapping[str, pd.DataFrame], index: pd.Index, count: str) -> np.ndarray:
    """A count of train pairs, which is smaller in arms from which some are hidden."""
    found: np.ndarray = np.max([table.loc[index, count].to_numpy() for table in tables.values()], axis=0)
    return found


def _group(
    split: str, by: GroupKind, group: Bounds, metric: str, users: int, pairs: int | None, arms: dict[str, float]
) -> Grouped:
    return Grouped(split, by, group.least, group.most, metric, users, pairs, arms)


def _tested(found: list[_Values], wanted: Wanted) -> list[Grouped]:
    asked = [
        (place, arm)
        for place, (_, values) in enumerate(found)
        for arm in values
        if arm != wanted.baseline and wanted.baseline in values and len(values[arm])
    ]
    flips = flips_for(len(asked))
    made = [
        paired_test(found[place][1][arm], found[place][1][wanted.baseline], wanted.test, flips=flips)
        for place, arm in asked
    ]
    tests: dict[int, dict[str, Change]] = {}
    for (place, arm), test, p in zip(asked, made, holm([test.p for test in made]), strict=True):
        base = float(np.nanmean(found[place][1][wanted.baseline]))
        relative = test.difference / base if base else None
        tests.setdefault(place, {})[arm] = Change(**vars(replace(test, p_holm=p)), relative=relative)
    return [replace(group, tests=tests.get(place, {})) for place, (group, _) in enumerate(found)]
