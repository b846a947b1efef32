"""Values per epoch: linear between points, constant outside, written as they are read; anything else is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.numerics.schedule import Schedule

VALUE = st.one_of(st.integers(-1000, 1000), st.floats(-1000, 1000))
POINTS = st.dictionaries(st.integers(0, 40), VALUE, min_size=1, max_size=6)


def plain_value(points: dict[int, float], epoch: int) -> float:
    """By exact fractions: the two neighbours' weighted mean, or the nearer end."""
    known = {key: Fraction(value) for key, value in points.items()}
    if epoch in known:
        return float(known[epoch])
    before = max((key for key in known if key < epoch), default=None)
    after = min((key for key in known if key > epoch), default=None)
    if before is None or after is None:
        return float(known[after if before is None else before])  # type: ignore[index]
    share = Fraction(epoch - before, after - before)
    return float((1 - share) * known[before] + share * known[after])


@given(POINTS)
def test_values_between_and_outside_of_points(points: dict[int, float]) -> None:
    """Every epoch around them, points in any order."""
    schedule = Schedule.read(points)
    for epoch in range(45):
        assert schedule.at(epoch) == pytest.approx(plain_value(points, epoch), rel=1e-9, abs=1e-9)
    for epoch, value in points.items():
        assert schedule.at(epoch) == value
    assert schedule.at(10**9) == points[max(points)]
    assert schedule.at(0) == points[min(points)]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ({0: 1, 20: 10}, {0: 1.0, 1: 1.45, 10: 5.5, 19: 9.55, 20: 10.0, 99: 10.0}),
        ({5: 4, 10: 0}, {0: 4.0, 5: 4.0, 6: 3.2, 9: 0.8, 10: 0.0, 11: 0.0}),
        ({10: 0, 0: 0, 4: 2}, {2: 1.0, 4: 2.0, 7: 1.0, 10: 0.0}),
        ({7: 3}, {0: 3.0, 7: 3.0, 8: 3.0}),
    ],
)
def test_known_schedules(points: dict[int, float], expected: dict[int, float]) -> None:
    """Rising, falling, in the wrong order, and of one point."""
    schedule = Schedule.read(points)
    assert {epoch: schedule.at(epoch) for epoch in expected} == pytest.approx(expected)


@given(POINTS, VALUE)
def test_no_value_is_above_the_bound(points: dict[int, float], most: float) -> None:
    bounded = Schedule.read(points).at_most(most)
    assert {epoch: bounded.at(epoch) for epoch in points} == {epoch: min(v, most) for epoch, v in points.items()}
    assert all(bounded.at(epoch) <= most + 1e-9 for epoch in range(45))


@given(VALUE, st.integers(0, 1000))
def test_a_number_is_a_constant(value: float, epoch: int) -> None:
    """In every epoch, and it is written as a number again."""
    schedule = Schedule.read(value)
    assert schedule == Schedule.constant(value)
    assert schedule.at(epoch) == value and schedule.values == [value]
    assert schedule.plain() == value and type(schedule.plain()) is float
    assert schedule == Schedule.read({0: value})


@given(POINTS)
def test_what_is_written_reads_as_the_same_values(points: dict[int, float]) -> None:
    """A round trip changes no epoch, and a second one nothing at all."""
    schedule = Schedule.read(points)
    again = Schedule.read(schedule.plain())
    assert [again.at(epoch) for epoch in range(45)] == [schedule.at(epoch) for epoch in range(45)]
    assert again.plain() == schedule.plain()
    assert schedule.values == [points[epoch] for epoch in sorted(points)]
    if len(points) > 1:
        assert again == schedule
        assert schedule.plain() == points
        assert list(schedule.plain()) == sorted(points)  # type: ignore[arg-type]


def test_epochs_may_be_written_as_text() -> None:
    """As config.yaml of a run and JSON hold them."""
    assert Schedule.read({"0": 1, "3": 2}) == Schedule.read({0: 1, 3: 2})


def test_a_schedule_is_read_as_itself() -> None:
    schedule = Schedule.read({0: 1, 3: 2})
    assert Schedule.read(schedule) is schedule


@given(POINTS, st.integers(0, 45))
def test_counts_are_the_nearest_whole_number_from_one_on(points: dict[int, float], epoch: int) -> None:
    """Within half of the value, where that is above one half."""
    schedule = Schedule.read(points)
    count, value = schedule.count_at(epoch), schedule.at(epoch)
    assert type(count) is int and count >= 1
    assert abs(count - value) <= 0.5 or (count == 1 and value < 1)


@pytest.mark.parametrize(
    ("value", "expected"), [(-3, 1), (0, 1), (0.4, 1), (1, 1), (1.6, 2), (2.4, 2), (9.99, 10), (10, 10)]
)
def test_known_counts(value: float, expected: int) -> None:
    """Rounded, not cut off."""
    assert Schedule.read(value).count_at(3) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        True,
        False,
        None,
        "3",
        "",
        [1, 2],
        (0, 1),
        {},
        set(),
        {0: True},
        {0: "1"},
        {0: None},
        {0: {1: 2}},
        {0: 1, 3: False},
        {True: 1},
        {0: 1, -1: 2},
        {1.0: 2},
        {"first": 1},
        {"-1": 1},
        {"0": 1, 0: 2},
        1j,
    ],
    ids=repr,
)
def test_anything_else_is_refused(wrong: object) -> None:
    """With what may be written; truth values are no numbers, neither as values nor as epochs."""
    with pytest.raises(ValueError, match=r"write a number, or a number per epoch such as \{0: 1, 20: 10\}"):
        Schedule.read(wrong)


@pytest.mark.parametrize("wrong", [10**400, {0: 1, 5: 10**400}], ids=["number", "mapping"])
def test_whole_numbers_beyond_floats_are_refused(wrong: object) -> None:
    """As any other value that cannot be one, by a ValueError: settings turn it into a message."""
    with pytest.raises(ValueError, match="write a number"):
        Schedule.read(wrong)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, {0: 1, 5: math.nan}], ids=repr)
def test_what_is_not_finite_is_refused(wrong: object) -> None:
    """YAML has .nan and .inf: NaN passes every check for a least value, and an infinite count cannot be rounded."""
    with pytest.raises(ValueError, match="write a number"):
        Schedule.read(wrong)
