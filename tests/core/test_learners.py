"""What a judge learns with, and how it chooses."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_dtlns.judges import learners
from recbole_dtlns.judges.learners import Boosted, Examples, Logistic, Mean, chosen, learnt, mean_ndcg

USERS, PER_USER = 100, 20


def examples(truth: str) -> Examples:
    """Pairs whose chance of being positive is linear in two features, or depends on them only together."""
    random = np.random.default_rng(5)
    features = random.standard_normal((USERS * PER_USER, 2)).astype(np.float32)
    meaning = features.sum(axis=1) if truth == "linear" else 3 * np.sign(features[:, 0] * features[:, 1])
    answers = random.random(len(features)) < 1 / (1 + np.exp(2 - 2 * meaning))
    return Examples(features, answers, np.repeat(np.arange(USERS), PER_USER))


def test_auto_takes_what_ranks_unknown_users_best() -> None:
    assert chosen(examples("linear"), "auto", 0).name in ("logistic", "mean")
    together = chosen(examples("together"), "auto", 0)
    best = f"{together.name} of {together.trees} trees"
    assert together.ndcg["logistic"] + 0.1 < together.ndcg[best] == max(together.ndcg.values())


def test_a_named_learner_is_taken_without_trying() -> None:
    for name in ("logistic", "boosted", "mean"):
        choice = chosen(examples("linear"), name, 0)  # type: ignore[arg-type]
        assert choice.name == name and choice.ndcg == {}


def test_the_mean_is_geometric() -> None:
    pairs = examples("linear")
    first, second = Logistic(pairs), Boosted(pairs, 10, 0)
    expected = np.sqrt(first.probability(pairs.features) * second.probability(pairs.features))
    np.testing.assert_allclose(Mean(first, second).probability(pairs.features), expected)


def test_auto_without_positives_in_some_fold_still_chooses() -> None:
    pairs = examples("linear")
    answers = np.zeros(len(pairs.answers), dtype=bool)
    answers[3] = True
    choice = chosen(Examples(pairs.features, answers, pairs.users), "auto", 0)
    assert choice.name in ("logistic", "boosted", "mean")
    assert learnt(Examples(pairs.features, answers, pairs.users), choice, 0).probability(pairs.features).shape == (
        USERS * PER_USER,
    )


def test_thinned_examples_keep_positives_and_the_weight_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = examples("linear")
    assert pairs.thinned(0) is pairs
    monkeypatch.setattr(learners, "_MOST_NEGATIVES", 500)
    few = pairs.thinned(0)
    assert few.weight is not None
    assert few.answers.sum() == pairs.answers.sum() and (~few.answers).sum() == 500
    assert few.weight[~few.answers].sum() == pytest.approx((~pairs.answers).sum())
    assert np.array_equal(few.users, np.sort(few.users))
    whole, part = (Logistic(one).probability(pairs.features).mean() for one in (pairs, few))
    assert part == pytest.approx(whole, rel=0.05), "probabilities stay those of all pairs"


def test_ndcg_against_a_plain_loop() -> None:
    random = np.random.default_rng(1)
    users = np.repeat(np.arange(30), 8)
    scores, answers = random.random(240), random.random(240) < 0.2
    expected = []
    for user in range(30):
        hits = answers[users == user][np.argsort(-scores[users == user])]
        if hits.any():
            gain = sum(1 / np.log2(place + 2) for place in range(5) if hits[place])
            expected.append(gain / sum(1 / np.log2(place + 2) for place in range(min(5, hits.sum()))))
    assert mean_ndcg(users, scores, answers, 5) == pytest.approx(np.mean(expected))
    assert mean_ndcg(users, scores, np.zeros(240, dtype=bool)) == 0
