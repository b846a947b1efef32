"""Hard negatives by a rule: what resembles the user's taste and the item that was chosen, and was not."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.generation.contract import GenerationTask, Generator
from recbole_dtlns.generation.matching import nearest_free
from recbole_dtlns.generation.profiles import user_profiles
from recbole_dtlns.guidance.generated import GeneratedNegatives, MatchedItems
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.storage.sealed_arrays import Arrays


class MatchConfig(ComponentConfig):
    """How many real items are matched to a train pair."""

    prefix = "hnlmrec_"

    items: int = Field(4, ge=1)
    """rule, llm, projection: real items matched to every train pair at most; every epoch a row meets one of them."""


class Rule(Generator):
    """`rule`: the unobserved items nearest to the pair's profile that the judge calls no false negatives.

    The profile of a pair (u, p) is the mean, by weights, of the user's profile and of what p says; nearness is the
    cosine. It stands in for HNLMRec's request (arXiv 2504.05050) to a language model for an item that resembles the
    user's taste and is not of interest. There, nothing keeps the answer from being what the user wants; here the judge
    does. Equal items are ordered by token, and nothing is drawn at random.
    """

    class Config(MatchConfig):
        """The weight of the user's profile."""

        rule_profile: float = Field(0.5, ge=0, le=1)
        """rule: weight of the user's profile beside the chosen item: 0 looks for what is like that item, 1 for what is
        like all that the user has."""

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"generator": "rule", **self.config.model_dump()}

    def generate(self, task: GenerationTask) -> tuple[Arrays, dict[str, Any]]:
        """The items, int32 [n_pairs, k], nearest first; -1 where there are fewer."""
        weight = self.config.rule_profile
        profiles = user_profiles(task.train, task.vectors)
        users, items = task.train.histories()

        def wanted(rows: slice) -> np.ndarray:
            return unit_rows(weight * profiles[users[rows]] + (1 - weight) * task.vectors[items[rows]])

        return {"items": nearest_free(task, wanted, self.config.items)}, {}

    def restored(self, arrays: Arrays, task: GenerationTask) -> GeneratedNegatives:
        return MatchedItems(task.train, arrays["items"], task.vectors)
