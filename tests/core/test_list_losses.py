"""A softmax over whole lists, against plain NumPy; its sampled form; who is in which list."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from recbole_dtlns.data.item_sets import JudgedPairs, PairSet
from recbole_dtlns.errors import ConfigError, ContractError
from recbole_dtlns.losses.contract import Listed, Others
from recbole_dtlns.losses.list_sums import log_sum, log_sum_of_others, mean_by_row
from recbole_dtlns.losses.listwise import Listwise
from recbole_dtlns.losses.shared_negatives import SharedNegatives
from recbole_dtlns.losses.user_lists import UserLists

N_ITEMS = 9  # ids 1..8; 0 is the padding
# User 1 has judged items, 2 none, 3 has observed all, 4 has all that is unobserved judged, 5 has no train pair.
OBSERVED = {1: [1, 2], 2: [3], 3: [1, 2, 3, 4, 5, 6, 7, 8], 4: [2, 3, 5]}
JUDGED = {1: {3: 0.5, 4: 0.25, 7: 0.01}, 4: {1: 0.2, 4: 1.0, 6: 0.3, 7: 0.1, 8: 1e-30}, 5: {1: 0.5}}


def pairs(of: dict[int, Any]) -> tuple[np.ndarray, np.ndarray]:
    found = [(user, item) for user, items in of.items() for item in items]
    return tuple(np.array(column, np.int64) for column in zip(*found, strict=True))  # type: ignore[return-value]


def lists(most: int = 50, judged: dict[int, dict[int, float]] | None = None) -> UserLists:
    named = JUDGED if judged is None else judged
    probability = np.array([p for items in named.values() for p in items.values()], np.float64)
    return UserLists(PairSet.of(*pairs(OBSERVED)), JudgedPairs.of(*pairs(named), probability), most, 6)


def given_to_loss(scores: torch.Tensor, users: np.ndarray, known: UserLists) -> tuple[Listed, Listed, Others]:
    """Scores [B, n_items] as the loss takes them, all items there."""
    places = known.of(users)
    left_out = torch.zeros(len(users), N_ITEMS, dtype=torch.bool)
    left_out[:, 0] = True
    left_out[places.observed_rows, places.observed_items] = True
    left_out[places.target_rows, places.target_items] = True
    return (
        Listed(torch.as_tensor(places.observed_rows), scores[places.observed_rows, places.observed_items]),
        Listed(
            torch.as_tensor(places.target_rows),
            scores[places.target_rows, places.target_items],
            torch.as_tensor(places.target_probability).to(scores.dtype),
        ),
        Others(scores, left_out),
    )


def plainly(scores: np.ndarray, user: int, temperature: float, sharpness: float, weight: float) -> float:
    """The definition: dense softmaxes of one user's scores [n_items]."""
    x = scores / temperature
    items = np.arange(1, N_ITEMS)
    unobserved = [item for item in items if item not in OBSERVED[user]]
    loss = 0.0
    if judged := JUDGED.get(user, {}):
        wanted = np.array([judged.get(item, 0.0) for item in unobserved], np.float64) ** (1 / sharpness)
        log_softmax = x[unobserved] - np.log(np.exp(x[unobserved]).sum())
        loss -= (wanted / wanted.sum() * log_softmax).sum()
    return loss - weight * (x[OBSERVED[user]] - np.log(np.exp(x[items]).sum())).mean()


USERS = np.array([4, 1, 2, 3, 1])
SETTINGS = [(1.0, 1.0, 0.3), (0.2, 0.5, 1.0), (2.0, 3.0, 0.0)]


@pytest.mark.parametrize(("temperature", "sharpness", "weight"), SETTINGS)
def test_it_is_its_definition_and_so_are_its_gradients(temperature: float, sharpness: float, weight: float) -> None:
    """A user whose items are all observed, one without judged items, one of whom all others are judged, one twice."""
    loss = Listwise(temperature=temperature, target_temperature=sharpness, observed=weight)
    scores = torch.randn(len(USERS), N_ITEMS, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scores.requires_grad_()
    found = loss.lists(*given_to_loss(scores, USERS, lists()))
    plain = scores.detach().numpy()

    def expected(values: np.ndarray) -> np.ndarray:
        return np.array(
            [plainly(row, user, temperature, sharpness, weight) for row, user in zip(values, USERS, strict=True)]
        )

    assert found.tolist() == pytest.approx(expected(plain).tolist(), rel=1e-6)
    found.sum().backward()
    assert scores.grad is not None
    step = 1e-5
    for row, column in np.ndindex(*plain.shape):
        moved = np.zeros_like(plain)
        moved[row, column] = step
        slope = (expected(plain + moved).sum() - expected(plain - moved).sum()) / (2 * step)
        assert float(scores.grad[row, column]) == pytest.approx(slope, abs=1e-6), (row, column)


def test_small_probabilities_keep_their_order_under_a_low_target_temperature() -> None:
    """1e-30 ** 20 is 0 in any precision; users of whom the judge thinks little are taught all the same."""
    judged = {1: {3: 2e-30, 4: 1e-30}}
    scores = torch.zeros(1, N_ITEMS)
    scores.requires_grad_()
    loss = Listwise(observed=0, target_temperature=0.05)
    loss.lists(*given_to_loss(scores, np.array([1]), lists(judged=judged))).sum().backward()
    assert scores.grad is not None
    wanted = 1 / 6 - scores.grad[0, [3, 4]]  # of six unobserved items that score alike
    assert wanted.tolist() == pytest.approx([1.0, 0.0], abs=1e-5)


def test_gradients_are_finite_where_nothing_is_left_whatever_the_scores() -> None:
    scores = (1e4 * torch.randn(len(USERS), N_ITEMS, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = Listwise(temperature=0.01).lists(*given_to_loss(scores, USERS, lists()))
    found.sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(found).all() and torch.isfinite(scores.grad).all()


def test_targets_without_probabilities_are_refused() -> None:
    observed, targets, others = given_to_loss(torch.zeros(1, N_ITEMS), np.array([1]), lists())
    with pytest.raises(ContractError, match="these have none"):
        Listwise().lists(observed, replace(targets, probability=None), others)


@pytest.mark.parametrize("field", [{"targets": 0}, {"users": -1}, {"items": -1}, {"target_temperature": 0}])
def test_settings_are_checked(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        Listwise(**field)


@pytest.mark.parametrize("skewed", [False, True], ids=["uniform", "skewed"])
def test_a_draw_stands_for_all_other_items(skewed: bool) -> None:
    """The mean over many draws of the sum over others is the sum over all of them, for every user; with many draws at
    once the loss is the full one."""
    random = np.random.default_rng(0)
    probability = random.random(N_ITEMS) + 0.1 if skewed else np.ones(N_ITEMS)
    probability[0] = 0
    probability /= probability.sum()
    known = lists(most=1)
    scores = torch.as_tensor(random.standard_normal((len(USERS), N_ITEMS)))
    observed, targets, everything = given_to_loss(scores, USERS, known)
    shared = SharedNegatives(known.pairs, probability, 6)

    def draw(n: int) -> Others:
        drawn = shared.draw(USERS, None, random.random(n))
        left_out = torch.zeros(len(USERS), len(drawn.items), dtype=torch.bool)
        left_out[drawn.rows, drawn.columns] = True
        assert torch.equal(left_out, everything.left_out[:, drawn.items]), "lists are left out, and nothing else"
        return Others(scores[:, drawn.items], left_out, torch.as_tensor(drawn.log_weight))

    estimates = torch.stack([log_sum_of_others(draw(10), 1.0).exp() for _ in range(4000)]).mean(dim=0)
    assert torch.allclose(estimates, log_sum_of_others(everything, 1.0).exp(), rtol=0.05)
    loss = Listwise(temperature=0.7)
    full, drawn = (loss.lists(observed, targets, others) for others in (everything, draw(400_000)))
    assert torch.allclose(drawn, full, rtol=1e-2)


def test_sums_of_rows_without_entries() -> None:
    values = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    rows = torch.tensor([0, 0, 2])
    total, mean = log_sum(rows, values, 4), mean_by_row(rows, values, 4)
    assert total[[0, 2]].tolist() == pytest.approx([np.log(np.e + np.e**2), -3.0])
    assert torch.isfinite(total).all() and (total[[1, 3]] < -1e38).all()
    assert mean.tolist() == pytest.approx([1.5, 0.0, -3.0, 0.0])
    (total[[0, 2]].sum() + torch.logaddexp(total[1], total[0])).backward()
    assert values.grad is not None and torch.isfinite(values.grad).all()


USER, ITEM = st.integers(1, 5), st.integers(1, 8)


@given(st.sets(st.tuples(USER, ITEM), min_size=1), st.dictionaries(st.tuples(USER, ITEM), st.floats(0, 1)), USER)
@example({(1, 1)}, {(1, 2): 0.0}, 1)
def test_who_is_in_which_list(observed: set[tuple[int, int]], judged: dict[tuple[int, int], float], most: int) -> None:
    """Targets are unobserved and judged above 0, the likeliest first; every list is the user's own."""
    columns = np.array(list(judged), np.int64).reshape(-1, 2)
    known = UserLists(
        PairSet.of(*np.array(sorted(observed)).T),
        JudgedPairs.of(columns[:, 0], columns[:, 1], np.array(list(judged.values()), np.float64)),
        most,
        7,
    )
    assert known.users.tolist() == sorted({user for user, _ in observed})
    users = np.array([5, 1, 6, 3, 2, 4, 0, 1])
    places, total = known.of(users), 0
    targets = {}
    for row, user in enumerate(users.tolist()):
        found = places.observed_items[places.observed_rows == row]
        assert found.tolist() == sorted(item for owner, item in observed if owner == user)
        of_row = places.target_rows == row
        likely = sorted(
            (-p, item)
            for (owner, item), p in judged.items()
            if owner == user and p > 0 and (user, item) not in observed
        )
        expected = [(item, pytest.approx(-p)) for p, item in likely[:most]]
        named = zip(places.target_items[of_row].tolist(), places.target_probability[of_row].tolist(), strict=True)
        assert list(named) == expected
        targets[user] = [item for item, _ in expected]
        total += len(expected) if row < len(users) - 1 else 0
    assert places.target_probability.dtype == np.float32
    assert len(known) == total and known.users_with_targets == sum(map(bool, targets.values()))
    for uniform in (0.0, 0.5, 1 - 2.0**-53):
        drawn = known.one_target(users, np.full(len(users), uniform), np.full(len(users), -1))
        for user, item in zip(users.tolist(), drawn.tolist(), strict=True):
            assert item in targets[user] or (item == -1 and not targets[user])


def test_one_target_is_any_of_a_users_own() -> None:
    """Each of five equally often; a user without one gets what it is given."""
    known = lists()
    grid = (np.arange(20) + 0.5) / 20
    drawn = known.one_target(np.full(20, 4), grid, np.full(20, -1))
    assert Counter(drawn.tolist()) == dict.fromkeys(JUDGED[4], 4)
    assert known.one_target(np.array([2, 3]), grid[:2], np.array([8, 5])).tolist() == [8, 5]


def test_pairs_are_both_lists() -> None:
    known = lists(most=2)
    assert {(int(u), int(i)) for u, i in zip(known.pairs.users, known.pairs.items, strict=True)} == {
        *((user, item) for user, items in OBSERVED.items() for item in items),
        *((1, 3), (1, 4), (4, 4), (4, 6), (5, 1)),
    }


@pytest.mark.parametrize(("given", "n_users", "expected"), [(0, 5, 1), (0, 943, 117), (0, 10**6, 1024), (32, 943, 32)])
def test_few_users_make_several_batches_too(given: int, n_users: int, expected: int) -> None:
    assert Listwise(users=given).config.users_at_once(n_users) == expected
