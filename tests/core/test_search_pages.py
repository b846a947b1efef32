"""Pages of a search that is as small as can be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from recbole_dtlns.reports.search import importance_page, parallel_page


def trials_of(*scores: float) -> Any:
    scored = [
        SimpleNamespace(score=score, sampled={"learning_rate": 0.1 / place, "sampler": "dns"})
        for place, score in enumerate(scores, start=1)
    ]
    return SimpleNamespace(keys=["learning_rate", "sampler"], scored=scored, metric="ndcg@10", bigger=True)


@pytest.mark.parametrize("n_trials", [1, 2, 3])
def test_pages_are_drawn_of_few_trials(n_trials: int) -> None:
    """Of one, sklearn warned that no variation is to be explained, which stops a test."""
    trials = trials_of(*(0.1 * place for place in range(n_trials)))
    assert ("It takes 2 trials" in importance_page(trials)) == (n_trials == 1)
    assert "learning_rate" in parallel_page(trials)
