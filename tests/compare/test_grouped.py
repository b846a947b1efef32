"""A comparison by groups of users and of items, re-derived in plain Python."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import pytest
import yaml

from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.evaluation.bounded_groups import Bounds, parted, up_to
from recbole_dtlns.evaluation.rankings import Rankings
from recbole_dtlns.evaluation.significance import flips_for, holm, paired_test
from recbole_dtlns.reports.comparison import write_report
from recbole_dtlns.studies.compare.compare import compare
from recbole_dtlns.studies.compare.comparison import Comparison, Grouped
from recbole_dtlns.studies.compare.grouped import Wanted, grouped

BOUNDS = [2, 5]


@dataclass
class MadeRun:
    users: pd.DataFrame
    pairs: pd.DataFrame | None


def made_run(arm: int, seed: int) -> MadeRun:
    """30 users with histories of 1 to 8 and 4 pairs each; later arms find more."""
    random = np.random.default_rng([arm, seed])
    tokens = [f"u{number:02d}" for number in range(30)]
    users = pd.DataFrame({"recall@10": random.random(30) + 0.1 * arm, "history": np.arange(30) % 8 + 1}, index=tokens)
    rows = [
        {"user_id": user, "item_id": f"i{place}", "train_pairs": (number * 4 + place) % 9, "place": int(hit)}
        for number, user in enumerate(tokens)
        for place, hit in enumerate(random.integers(0, 12 - 3 * arm, 4))
    ]
    return MadeRun(users, pd.DataFrame(rows))


def wanted(**changes: object) -> Wanted:
    told = {"groups": {"history": BOUNDS, "popularity": BOUNDS}, "metrics": ["recall@10"], "topk": [5, 10]}
    return Wanted(**{**told, "baseline": "first", "test": "permutation", **changes})  # type: ignore[arg-type]


ARMS = {"first": [made_run(0, 1), made_run(0, 2)], "second": [made_run(1, 1), made_run(1, 2)]}


def test_bounds_part_all_counts_and_say_what_they_hold() -> None:
    groups = parted(BOUNDS)
    assert [group.text for group in groups] == ["at most 2", "3 to 5", "6 or more"]
    counts = np.arange(10)
    assert sum(group.holds(counts).astype(int) for group in groups).tolist() == [1] * 10
    assert [group.text for group in (*up_to(BOUNDS), Bounds(0, None))] == ["at most 5", "all"]


def test_a_pair_has_its_place_in_the_list_of_its_user() -> None:
    lists = Rankings(np.array([4, 2]), np.array([[7, 9, 1], [9, 3, -1]]), np.zeros((2, 3), dtype=np.float32))
    pairs = PairSet.of(np.array([2, 2, 4, 4, 5]), np.array([3, 7, 1, 9, 9]))
    due = {(2, 3): 2, (2, 7): 0, (4, 1): 3, (4, 9): 2, (5, 9): 0}
    found = dict(zip(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True), lists.places(pairs), strict=True))
    assert found == due
    assert lists.places(PairSet.of(np.array([], int), np.array([], int))).tolist() == []


def test_groups_hold_what_plain_python_finds() -> None:
    found = grouped("given", ARMS, wanted())
    assert len(found) == 3 + 2 * 5
    for group in found:
        inside = [n for n in range(200) if group.least <= n and (group.most is None or n <= group.most)]
        for arm, runs in ARMS.items():
            if group.by == "history":
                mine = [user for user in runs[0].users.index if runs[0].users.loc[user, "history"] in inside]
                values = [mean(run.users.loc[user, "recall@10"] for run in runs) for user in mine]
                assert group.users == len(mine) and group.pairs is None
            else:
                k = int(group.metric.removeprefix("found@"))
                rows = [run.pairs[run.pairs["train_pairs"].isin(inside)] for run in runs if run.pairs is not None]
                values = [mean((table["place"] > 0) & (table["place"] <= k)) for table in rows]
                assert group.pairs == len(rows[0]) and group.users == rows[0]["user_id"].nunique()
            assert group.arms[arm] == pytest.approx(mean(values))


def test_all_groups_of_a_split_are_corrected_together() -> None:
    found = grouped("given", ARMS, wanted())
    tests = [group.tests["second"] for group in found]
    assert [test.p_holm for test in tests] == pytest.approx(holm([test.p for test in tests]))
    first = found[0]
    users = ARMS["first"][0].users.index[ARMS["first"][0].users["history"] <= 2]
    of = {arm: np.mean([run.users.loc[users, "recall@10"] for run in runs], axis=0) for arm, runs in ARMS.items()}
    due = paired_test(of["second"], of["first"], flips=flips_for(len(tests)))
    assert (first.tests["second"].difference, first.tests["second"].p) == pytest.approx((due.difference, due.p))
    for group in found:
        change = group.arms["second"] / group.arms["first"] - 1
        assert group.tests["second"].relative == pytest.approx(change), "of users, and of pairs by user"


def test_runs_that_wrote_no_pairs_are_in_no_group_of_pairs() -> None:
    old = {**ARMS, "old": [MadeRun(run.users, None) for run in ARMS["second"]]}
    found = grouped("given", old, wanted())
    assert all(("old" in group.arms) == (group.by == "history") for group in found)
    assert grouped("given", {"old": old["old"]}, wanted(groups={"popularity": BOUNDS})) == []


# --- in a comparison ---


@pytest.fixture(scope="module")
def with_groups(
    finished: tuple[Path, Comparison, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Comparison, list[str]]:
    """The comparison of before, of which groups are asked now: nothing is trained again."""
    path, before, _ = finished
    folder = tmp_path_factory.mktemp("grouped")
    shutil.copytree(before.folder, folder / "out")
    content = {**yaml.safe_load(path.read_text()), "groups": {"history": [13, 15], "popularity": [7, 9]}}
    (folder / path.name).write_text(yaml.safe_dump(content, sort_keys=False))
    said: list[str] = []
    return compare(folder / path.name, output=folder / "out", say=said.append), said


def test_groups_can_be_asked_for_later(with_groups: tuple[Comparison, list[str]]) -> None:
    found, said = with_groups
    assert "4 runs, 4 of them done before" in said[0]
    assert found.groups
    assert Comparison.read(found.folder).groups == found.groups
    text = (found.folder / "comparison.md").read_text()
    assert "### By length of history" in text and "### By popularity of the item" in text
    assert "at most 13 (" in text and "16 or more (" in text and "at most 9 (" in text and "all (" in text
    write_report([found.folder])
    assert "By popularity of the item" in (found.folder / "report.html").read_text()


def test_shares_of_pairs_are_those_of_the_ranked_lists(with_groups: tuple[Comparison, list[str]]) -> None:
    """From run.trec, qrels.trec and the train file."""
    found, _ = with_groups
    data = Path(found.folder.parent.parent)
    train = next(data.glob("*/data/tiny/tiny.train.inter")).read_text().splitlines()[1:]
    counts = Counter(line.split("\t")[1] for line in train)
    assert found.groups is not None
    group = next(
        one for one in found.groups if (one.by, one.least, one.most, one.metric) == ("popularity", 0, 7, "found@5")
    )
    cell = next(one for one in (found.folder / "cells").iterdir() if one.name.startswith("plain-RecBole"))
    lists = {
        tuple(line.split()[0:3:2]) for line in (cell / "run.trec").read_text().splitlines() if int(line.split()[3]) <= 5
    }
    truth = [tuple(line.split()[0:3:2]) for line in (cell / "qrels.trec").read_text().splitlines()]
    rare = [pair for pair in truth if counts[pair[1]] <= 7]
    assert group.pairs == len(rare) > 0
    assert group.arms["plain RecBole"] == pytest.approx(mean(pair in lists for pair in rare))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"history": [5, 5]}, "bounds in ascending order"),
        ({"popularity": []}, "bounds in ascending order"),
        ({"age": [5]}, "groups.age"),
        ({"history": [0]}, "greater than or equal to 1"),
    ],
)
def test_bounds_that_part_nothing_are_refused(
    groups: dict[str, list[int]], message: str, finished: tuple[Path, Comparison, list[str]]
) -> None:
    content = {**yaml.safe_load(finished[0].read_text()), "groups": groups}
    Path("wrong.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=message):
        compare("wrong.yaml", output="out")


def test_a_group_of_nobody_says_nothing() -> None:
    found = grouped("given", ARMS, wanted(groups={"history": [1000]}))
    empty = found[1]
    assert isinstance(empty, Grouped) and empty.users == 0 and empty.arms == {} and empty.tests == {}
