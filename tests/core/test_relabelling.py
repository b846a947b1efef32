"""Verdicts become item sets: which positives a user gets, in what order, and what is never drawn again."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_dtlns.guidance.relabelling import Relabelling, relabel, row_weights
from recbole_dtlns.judges.contract import Label, Verdicts
from recbole_dtlns.teachers.contract import Candidates

NO, YES, ABSTAIN = Label.NEGATIVE, Label.POSITIVE, Label.ABSTAIN

# user, item, rank, label, probability: users 1 and 4 have positives, user 2 none
ROWS = [
    (1, 30, 0, YES, 0.5),
    (1, 10, 1, YES, 0.9),
    (1, 50, 2, ABSTAIN, np.nan),
    (1, 20, 3, YES, 0.5),
    (1, 40, 4, NO, 0.1),
    (2, 30, 0, NO, 0.2),
    (4, 20, 0, NO, 0.3),
    (4, 60, 1, YES, 0.6),
    (4, 10, 2, YES, 0.7),
]


def judged() -> tuple[Candidates, Verdicts]:
    users, items, ranks, labels, probability = zip(*ROWS, strict=True)
    candidates = Candidates(*(np.array(column, np.int32) for column in (users, items, ranks)), -np.array(ranks, float))
    return candidates, Verdicts(np.array(probability, np.float32), np.array(labels, np.int8))


def places(found: Relabelling) -> dict[tuple[int, int], int]:
    """Place of every pseudo-positive."""
    columns = (found.positives.users, found.positives.items, found.positives.place)
    return {(user, item): place for user, item, place in zip(*(column.tolist() for column in columns), strict=True)}


def test_positives_come_in_the_teachers_order() -> None:
    """Whatever probability they have; that is what is done where nothing is said."""
    expected = {(1, 30): 0, (1, 10): 1, (1, 20): 2, (4, 60): 0, (4, 10): 1}
    assert places(relabel(*judged(), top=0)) == expected
    assert places(relabel(*judged(), top=0, order="rank")) == expected


def test_positives_come_in_the_judges_order_and_equal_ones_in_the_teachers() -> None:
    expected = {(1, 10): 0, (1, 30): 1, (1, 20): 2, (4, 10): 0, (4, 60): 1}
    assert places(relabel(*judged(), top=0, order="probability")) == expected


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        ("rank", {(1, 30): 0, (1, 10): 1, (4, 60): 0, (4, 10): 1}),
        ("probability", {(1, 10): 0, (1, 30): 1, (4, 10): 0, (4, 60): 1}),
    ],
)
def test_the_first_of_every_user_are_added(order: str, kept: dict[tuple[int, int], int]) -> None:
    """Two of three of one user, two of two of the other; a bound above all changes nothing."""
    assert places(relabel(*judged(), top=2, order=order)) == kept
    assert places(relabel(*judged(), top=9, order=order)) == places(relabel(*judged(), top=0, order=order))


@pytest.mark.parametrize("order", ["rank", "probability"])
@pytest.mark.parametrize("top", [0, 1, 2])
def test_all_positive_verdicts_are_forbidden_however_few_are_added(top: int, order: str) -> None:
    """And nothing that was called negative or not answered."""
    forbidden = relabel(*judged(), top=top, order=order).forbidden
    assert list(zip(forbidden.users.tolist(), forbidden.items.tolist(), strict=True)) == [
        (1, 10),
        (1, 20),
        (1, 30),
        (4, 10),
        (4, 60),
    ]


@pytest.mark.parametrize(("decay", "expected"), [(0.0, [0.6, 0.6, 0.6, 0.6]), (1.0, [0.6, 0.3, 0.2, 0.06])])
def test_the_kth_row_of_a_user_weighs_the_kth_part(decay: float, expected: list[float]) -> None:
    """Or all the same, where nothing decays; places count from 0."""
    assert row_weights(np.array([0, 1, 2, 9]), 0.6, decay) == pytest.approx(expected)
    assert row_weights(np.array([3]), 0.6, 0.5) == pytest.approx([0.6 / 2])


def test_the_summary_counts_what_was_made() -> None:
    assert relabel(*judged(), top=1).facts() == {"positives": 2, "users_with_positives": 2, "forbidden": 5}
