"""Built-in teachers pass the checks that are given to authors of others, and each check finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.conformance import TEACHER_CHECKS, ConformanceError, teachers
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.teachers.closed_form import EASE
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.table import TEACHERS

Score = Callable[[np.ndarray], np.ndarray]


@pytest.mark.parametrize("name", TEACHERS.names())
@pytest.mark.parametrize("check", TEACHER_CHECKS, ids=lambda check: check.__name__)
def test_built_in_teachers_conform(check: Callable[..., None], name: str) -> None:
    check(TEACHERS.get(name))


class Fitted:
    def __init__(self, item_vectors: np.ndarray, scores: Score) -> None:
        self.item_vectors = item_vectors
        self.scores = scores


class Neighbours(Teacher):
    """A teacher of somebody else's, whole: items score by the items of the history that share users with them."""

    class Config(ComponentConfig):
        """Its settings."""

        power: float = Field(1.0, gt=0)
        """Of the number of users that two items share."""

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "neighbours", "power": self.config.power}

    def weights(self, train: TrainInteractions) -> np.ndarray:
        shared: np.ndarray = (train.matrix.T @ train.matrix).toarray() ** self.config.power
        return shared

    def fit(self, train: TrainInteractions) -> Fitted:
        weights = self.weights(train)
        return Fitted(weights.astype(np.float32), lambda users: train.matrix[users].toarray() @ weights)


@pytest.mark.parametrize("check", TEACHER_CHECKS, ids=lambda check: check.__name__)
def test_a_teacher_of_few_lines_conforms(check: Callable[..., None]) -> None:
    check(Neighbours)


class DoubleVectors(Neighbours):
    def fit(self, train: TrainInteractions) -> Fitted:
        fitted = super().fit(train)
        return Fitted(fitted.item_vectors.astype(np.float64), fitted.scores)


class Diverges(Neighbours):
    def fit(self, train: TrainInteractions) -> Fitted:
        fitted = super().fit(train)
        return Fitted(fitted.item_vectors, lambda users: fitted.scores(users) * np.nan)


class FirstUsersOnly(Neighbours):
    """Scores all users, whoever was asked for."""

    def fit(self, train: TrainInteractions) -> Fitted:
        fitted = super().fit(train)
        return Fitted(fitted.item_vectors, lambda users: fitted.scores(np.arange(train.n_users)))


class OwnDice(Neighbours):
    def weights(self, train: TrainInteractions) -> np.ndarray:
        return super().weights(train) + np.random.default_rng().random((train.n_items, train.n_items))


class LooksAround(Neighbours):
    """Scores are centred over the batch."""

    def fit(self, train: TrainInteractions) -> Fitted:
        fitted = super().fit(train)

        def scores(users: np.ndarray) -> np.ndarray:
            found = fitted.scores(users)
            return found - found.mean(axis=0)

        return Fitted(fitted.item_vectors, scores)


class KnowsNothing(Neighbours):
    def fit(self, train: TrainInteractions) -> Fitted:
        fitted = super().fit(train)
        return Fitted(fitted.item_vectors, lambda users: np.full((len(users), train.n_items), -np.inf))


class WearsOut(Neighbours):
    """Every reading halves the scores."""

    def fit(self, train: TrainInteractions) -> Fitted:
        whole = super().fit(train).scores(np.arange(train.n_users))

        def scores(users: np.ndarray) -> np.ndarray:
            whole[users] /= 2
            return whole[users]

        return Fitted(np.ones((train.n_items, 1), np.float32), scores)


class Scribbles(Neighbours):
    def fit(self, train: TrainInteractions) -> Fitted:
        train.matrix.data *= 2
        return super().fit(train)


class DropsItems(Neighbours):
    """Items without a pair are left out."""

    def fit(self, train: TrainInteractions) -> Fitted:
        fitted = super().fit(train)
        kept = np.asarray(train.matrix.sum(axis=0)).ravel() > 0
        return Fitted(fitted.item_vectors[kept], lambda users: fitted.scores(users)[:, kept])


class Popularity(Neighbours):
    def fit(self, train: TrainInteractions) -> Fitted:
        counts = np.asarray(train.matrix.sum(axis=0)).ravel()
        return Fitted(np.ones((train.n_items, 1), np.float32), lambda users: np.tile(counts, (len(users), 1)))


class PeeksAtTimes(Neighbours):
    """The latest items have no weight."""

    def fit(self, train: TrainInteractions) -> Fitted:
        late = train.histories()[1][train.ages == 0]
        fitted = super().fit(train)

        def scores(users: np.ndarray) -> np.ndarray:
            found = fitted.scores(users)
            found[:, late] /= 2
            return found

        return Fitted(fitted.item_vectors, scores)


class DoesWithoutTimes(Neighbours):
    reads_order = True


class FailsWithoutTimes(Neighbours):
    reads_order = True

    def fit(self, train: TrainInteractions) -> Fitted:
        assert train.times is not None
        return super().fit(train)


class HidesASetting(Neighbours):
    def inputs(self) -> dict[str, Any]:
        return {"teacher": "neighbours"}


class NoPlainInputs(Neighbours):
    def inputs(self) -> dict[str, Any]:
        return {"teacher": "neighbours", "power": np.float32(self.config.power)}


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (DoubleVectors, teachers.gives_scores_and_item_vectors, "float64, not float32"),
        (Diverges, teachers.gives_scores_and_item_vectors, r"NaN or \+infinity"),
        (FirstUsersOnly, teachers.gives_scores_and_item_vectors, r"not \[B, n_items\]"),
        (OwnDice, teachers.is_fitted_twice_alike, "gave other results"),
        (LooksAround, teachers.a_batch_is_its_users_one_by_one, "alone gets other scores"),
        (KnowsNothing, teachers.names_candidates_that_nobody_observed, "not one candidate"),
        (WearsOut, teachers.names_candidates_that_nobody_observed, "reading candidates changed the scores"),
        (Scribbles, teachers.leaves_the_train_pairs_alone, "were written to"),
        (DropsItems, teachers.is_fitted_where_pairs_are_hidden, "an item without a pair has no vector"),
        (Popularity, teachers.ranks_the_missing_items_of_blocks_first, "of the 144 missing items"),
        (HidesASetting, teachers.inputs_tell_fits_apart, r"power=1\.6 changes the result, and the inputs do not tell"),
        (NoPlainInputs, teachers.inputs_tell_fits_apart, "not plain data"),
        (PeeksAtTimes, teachers.sees_the_order_of_pairs_only_if_it_says_so, "reads_order is False"),
        (DoesWithoutTimes, teachers.sees_the_order_of_pairs_only_if_it_says_so, "fitted where there is none"),
        (FailsWithoutTimes, teachers.sees_the_order_of_pairs_only_if_it_says_so, "raises AssertionError, not an error"),
    ],
)
def test_broken_teachers_are_found(broken: type[Teacher], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


def test_every_check_can_fail() -> None:
    """The list above leaves none out."""
    broken = next(mark for mark in test_broken_teachers_are_found.pytestmark if mark.name == "parametrize").args[1]
    assert {check for _, check, _ in broken} == set(TEACHER_CHECKS)


def test_a_setting_without_effect_need_not_be_among_the_inputs() -> None:
    """Such as how many users are scored at once."""

    class Chunked(EASE):
        class Config(EASE.Config):
            """Its settings."""

            chunk: int = 100
            """Users at once."""

        config: Config

    teachers.inputs_tell_fits_apart(Chunked)
