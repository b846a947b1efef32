"""A judge that learns, without an LLM, what a false negative looks like: from train positives hidden on purpose."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.judges.believed import Believed, believed, columns_of
from recbole_dtlns.judges.contract import Judge, Label, Pairs, Question, Rehearsal, Verdicts
from recbole_dtlns.judges.features import KnownOfPairs, columns_by_member, pair_features
from recbole_dtlns.judges.learners import Examples, LearnerName, Learnt, chosen, learnt
from recbole_dtlns.judges.pair_blocks import over_pairs

logger = logging.getLogger("recbole_dtlns")

_FEWEST = 10  # hidden positives that can be learnt from
_MOST_EXAMPLES = 8_000_000  # pairs that are learnt from, which bounds the memory of learning


class CalibratedJudge(Judge):
    """Learns from features of pairs where the answer is known, and is applied to the real candidates.

    A share of every user's train pairs is hidden; teacher, trees and candidates are made without them; the candidates
    that are hidden pairs are the positive examples. So the probability reads: how likely is it that this
    candidate is a positive that the train split happens to lack? It is calibrated to the hidden share, and small.

    Trees that were given, and may know the hidden pairs, are not looked at: learnt from, they would promise too much.
    Trees made of the train pairs stand in for them.
    """

    class Config(ComponentConfig):
        """Settings of the judge; what is hidden is the rehearsal's."""

        prefix = "judge_"

        lift: float = Field(1.0, ge=0)
        """A pair is positive from this multiple of the mean probability."""
        learner: LearnerName = "logistic"
        """What learns: logistic (regression), boosted (trees), mean (the geometric mean of both), or auto (whichever
        ranks the hidden pairs of users that it did not learn from best)."""
        members: Literal["all", "chosen"] = "all"
        """calibrated, where dtlns_teachers are asked: believe all of them, or chosen ones: those without whom hidden
        pairs of other users are ranked better, by more than a standard error, are not listened to. The summary says
        what each is worth."""
        reads_text: bool = False
        """calibrated, distilled: look at what items say, too (dtlns_text_fields): how near the candidate's text is to
        those of the history."""
        reads_order: bool = False
        """calibrated, distilled: look at the order of time, too: whether the candidate follows what the user had last.
        Needs times in the data."""
        seed: Seed = 42

    config: Config
    version = 6
    rehearses = True

    @property
    def reads_text(self) -> bool:  # type: ignore[override]
        return self.config.reads_text

    @property
    def reads_order(self) -> bool:  # type: ignore[override]
        return self.config.reads_order

    def inputs(self) -> dict[str, Any]:
        learner = (
            {} if self.config.learner == "logistic" else {"learner": self.config.learner, "seed": self.config.seed}
        )
        members = {} if self.config.members == "all" else {"members": self.config.members, "seed": self.config.seed}
        reads = {name: True for name in ("reads_text", "reads_order") if getattr(self, name)}
        return {"judge": "calibrated", "lift": self.config.lift, **learner, **members, **reads}

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates.

        Raises:
            ConfigError: there is no rehearsal to learn from (with a checkpoint as teacher, or a file of candidates).
        """
        rehearsal = question.rehearsal
        if rehearsal is None:
            raise ConfigError(
                "the calibrated judge trains the teacher again without some pairs, which neither a checkpoint nor a "
                "file of candidates allows"
            )
        examples = examples_of(rehearsal, self.config.seed, self.reads_text, self.reads_order)
        facts: dict[str, Any] = {"hidden_found": int(examples.answers.sum())}
        if rehearsal.trees_not_read:
            facts["trees_not_read"] = list(rehearsal.trees_not_read)
        if facts["hidden_found"] < _FEWEST:
            hidden = sum(len(one.hidden) for one in rehearsal.all)
            logger.warning(
                "only %d of %d hidden positives are among the candidates, too few to learn from: the candidates are "
                "judged by their ranks. Raise dtlns_candidates, or choose other teachers",
                facts["hidden_found"],
                hidden,
            )
            by_rank = 1 / (2.0 + question.candidates.ranks)  # what remains: the first candidate is the likeliest
            return replace(self._verdicts(by_rank), facts=facts)
        heard = None
        if self.config.members == "chosen" and question.opinions is not None:
            columns = columns_by_member(rehearsal.question.views, question.opinions.names)
            found = believed(examples, columns, self.config.seed)
            heard = columns_of(found.members, columns, examples.n_features)
            examples = examples.seeing(heard)
            facts |= _facts_of(found)
        if self.config.learner != "logistic":
            examples = examples.thinned(self.config.seed)
        choice = chosen(examples, self.config.learner, self.config.seed)
        facts |= {"learner": choice.name, "learner_trees": choice.trees, "ndcg_of_learners": choice.ndcg}
        return replace(self.apply(learnt(examples, choice, self.config.seed), rehearsal.actual, heard), facts=facts)

    def apply(self, learnt: Learnt, question: Question, heard: np.ndarray | None = None) -> Verdicts:
        """The verdicts of what was learnt; from some of the features, where `heard` gives their columns."""
        if len(question.candidates) == 0:
            return self._verdicts(np.empty(0))
        known = KnownOfPairs.of(question, self.reads_text, self.reads_order)
        applied = _Applied(known, learnt, heard)
        return self._verdicts(over_pairs(_probability, applied, question, "verdicts")["probability"])

    def _verdicts(self, probability: np.ndarray) -> Verdicts:
        if len(probability) == 0:
            return Verdicts(np.empty(0, np.float32), np.empty(0, np.int8))
        likely = probability >= self.config.lift * probability.mean()
        label = np.where(likely, np.int8(Label.POSITIVE), np.int8(Label.NEGATIVE))
        return Verdicts(probability.astype(np.float32), label)

    def remark(self, facts: Mapping[str, Any]) -> str:
        parts = []
        if facts.get("hidden_found", _FEWEST) < _FEWEST:
            parts.append(f"by rank, as only {facts['hidden_found']} hidden pairs are among the candidates")
        if facts.get("ndcg_of_learners"):
            tried = ", ".join(f"{name} {ndcg:.4f}" for name, ndcg in facts["ndcg_of_learners"].items())
            parts.append(f"learnt by {facts['learner']} from {facts['hidden_found']} hidden pairs (NDCG@20: {tried})")
        if "believed" in facts:
            parts.append(_remark_on_members(facts))
        if "trees_not_read" in facts:
            parts.append(
                "it looked at trees of its own, not at the given ones "
                f"({' and '.join(facts['trees_not_read'])}), which may know the pairs that it learns from (else: "
                "dtlns_paths_know_train: False)"
            )
        return "; ".join(parts)


def _facts_of(found: Believed) -> dict[str, Any]:
    """As plain data: who is believed, and by member the NDCG@20 that is lost without it, with its standard error."""
    costs = {"left_out": found.left_out, "would_cost": found.staying}
    return {
        "believed": list(found.members),
        **{what: {member: [cost.ndcg, cost.error] for member, cost in of.items()} for what, of in costs.items()},
    }


def _remark_on_members(facts: Mapping[str, Any]) -> str:
    def costs(of: Mapping[str, Any]) -> str:
        return ", ".join(f"{member} ({ndcg:+.4f} ± {error:.4f})" for member, (ndcg, error) in of.items())

    said = f"believes {', '.join(facts['believed'])}"
    if facts["left_out"]:
        said += f", and not {costs(facts['left_out'])}: in brackets what NDCG@20 of hidden pairs loses without"
    elif facts["would_cost"]:
        said += f": without, NDCG@20 of hidden pairs would lose {costs(facts['would_cost'])}"
    return said


@dataclass(frozen=True)
class _Applied:
    known: KnownOfPairs
    learnt: Learnt
    heard: np.ndarray | None


def _probability(applied: _Applied, pairs: Pairs) -> dict[str, np.ndarray]:
    features = applied.known.features(pairs)
    heard = features if applied.heard is None else features[:, applied.heard]
    return {"probability": applied.learnt.probability(heard)}


def examples_of(rehearsal: Rehearsal, seed: int, text: bool = False, order: bool = False) -> Examples:
    """The candidates of all rehearsals, with the answers; about eight million of them where there are more.

    Args:
        rehearsal: what is learnt from.
        seed: of the users whose candidates are taken.
        text, order: as for `pair_features`.
    """
    rehearsals = [one.of_some_users(_MOST_EXAMPLES // len(rehearsal.all), seed) for one in rehearsal.all]
    parts = [
        Examples(pair_features(one.question, text, order), one.answers(), one.question.candidates.users)
        for one in rehearsals
    ]
    return Examples(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.answers for part in parts]),
        np.concatenate([part.users for part in parts]),
    )
