"""A small model fitted to a sample of an LLM's verdicts; it answers what it is sure of, the LLM answers the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pydantic import Field
from sklearn.ensemble import HistGradientBoostingClassifier

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.errors import JudgeError
from recbole_dtlns.judges.contract import Judge, Label, Question, Verdicts
from recbole_dtlns.judges.features import pair_features
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.engine import Engine
from recbole_dtlns.llm.table import ENGINES

_FIRST_SHARE = 0.4  # of the budget is spent before anything is known
_ROUNDS = 3  # of asking about what the student is least sure of
_HELD_OUT_SHARE = 0.25  # of the first sample tells how well the student agrees, and is never learnt from
_CERTAIN = 0.98  # a label without a probability is taken for this sure


class DistilledJudge(Judge):
    """Asks an LLM about few pairs, chosen to tell most, and learns its verdicts from pair features.

    First a uniform sample is asked; part of it is held out to measure agreement. Then, in rounds, the pairs are asked
    that the student is least sure of. The LLM's verdict stands wherever it was asked; elsewhere the student answers.
    (A first sample spread evenly over kinds of pairs instead made worse students.)

    Args:
        config: its settings; or give them by name.
        engine: where the LLM runs; None: the engine that the settings name, with its own defaults.
        fields: settings by name.
    """

    class Config(LLMJudge.Config):
        """Settings of the LLM judge that is learnt from, and of the learning."""

        max_llm_pairs: int = Field(10_000, ge=1)
        """Pairs that the LLM may be asked about."""
        sure: float = Field(0.4, ge=0, le=0.5)
        """The small model is sure from this distance to 1/2 on, and such pairs are not asked."""
        reads_text: bool = False
        """calibrated, distilled: look at what items say, too (dtlns_text_fields): how near the candidate's text is to
        those of the history."""
        reads_order: bool = False
        """calibrated, distilled: look at the order of time, too: whether the candidate follows what the user had last.
        Needs times in the data."""
        seed: Seed = 42

    config: Config
    llm: LLMJudge
    version = 4
    keeps_verdicts = True

    @property
    def reads_text(self) -> bool:  # type: ignore[override]
        return self.config.reads_text or self.llm.reads_text

    @property
    def reads_order(self) -> bool:  # type: ignore[override]
        return self.config.reads_order

    def __init__(
        self, config: ComponentConfig | None = None, /, *, engine: Engine | None = None, **fields: Any
    ) -> None:
        super().__init__(config, **fields)
        self.llm = LLMJudge(self.config, engine=engine)

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        config = cls.Config.from_flat(flat, name)
        return cls(config, engine=ENGINES.make(config.engine_name, flat))

    def inputs(self) -> dict[str, Any]:
        config = self.config
        limits = {
            "pairs": config.max_llm_pairs,
            "tokens": config.max_tokens_total,
            "sure": config.sure,
            "seed": config.seed,
            **{name: True for name in ("reads_text", "reads_order") if getattr(config, name)},
        }
        return {"judge": "distilled", "llm": self.llm.inputs(), **limits}

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates.

        Raises:
            JudgeError: the LLM answered nothing that could be learnt from.
            DTLNSError: as the LLM judge raises; its answers so far are kept.
        """
        if not self.llm.plan(question).askable.any():
            return self._unasked(question)
        sample = _Sample(question, self.llm, self.config)
        budget = min(self.config.max_llm_pairs, len(sample.askable))
        first = max(1, round(budget * _FIRST_SHARE))
        drawn = sample.uniform(first)
        held_out = drawn[: round(first * _HELD_OUT_SHARE)]
        with self.llm.session():
            sample.ask(drawn, self.config.max_tokens_total)
            student = self._fit(sample, held_out)
            for round_ in range(_ROUNDS):
                spent = sample.count
                share = (budget - spent) // (_ROUNDS - round_)
                unsure = sample.least_sure(student, share, self.config.sure)
                if len(unsure) == 0 or sample.tokens_left(self.config.max_tokens_total) == 0:
                    break
                sample.ask(unsure, self.config.max_tokens_total)
                student = self._fit(sample, held_out)
        return self._verdicts(sample, student, held_out)

    def _unasked(self, question: Question) -> Verdicts:
        """The verdicts where there is nothing to ask, and so nothing to learn from."""
        verdicts = self.llm.judge(question)
        none = {"llm_pairs": 0, "student_pairs": 0, "unsure_student_pairs": 0, "agreement": None, "agreement_pairs": 0}
        return replace(verdicts, facts={**verdicts.facts, **none})

    def remark(self, facts: Mapping[str, Any]) -> str:
        how = f"the LLM answered {facts['llm_pairs']}, its student {facts['student_pairs']}"
        if facts["agreement"] is not None:
            how += f" (agreeing on {facts['agreement']:.1%} of {facts['agreement_pairs']} held-out pairs)"
        return how

    def _fit(self, sample: _Sample, held_out: np.ndarray) -> HistGradientBoostingClassifier:
        known = np.setdiff1d(np.flatnonzero(sample.answered), held_out)
        if len(known) == 0:
            raise JudgeError(
                "the LLM answered none of the sampled pairs: raise dtlns_judge_max_llm_pairs or "
                "dtlns_judge_max_tokens_total"
            )
        # Each pair stands twice, once per label, weighted by the LLM's probability: a soft label.
        positive = np.clip(sample.probability[known], 1 - _CERTAIN, _CERTAIN)
        student = HistGradientBoostingClassifier(
            max_iter=100,
            max_leaf_nodes=15,
            min_samples_leaf=max(2, min(20, len(known) // 20)),
            l2_regularization=1.0,
            early_stopping=False,
            random_state=self.config.seed,
        )
        return student.fit(
            np.concatenate([sample.features[known]] * 2),
            np.repeat([1, 0], len(known)),
            sample_weight=np.concatenate([positive, 1 - positive]),
        )

    def _verdicts(self, sample: _Sample, student: HistGradientBoostingClassifier, held_out: np.ndarray) -> Verdicts:
        guess = student.predict_proba(sample.features)[:, 1]
        probability = np.where(sample.answered, sample.probability, guess)
        label = np.where(probability >= self.config.threshold, Label.POSITIVE, Label.NEGATIVE).astype(np.int8)
        silent = sample.asked & ~sample.answered  # the LLM abstained, so nobody knows
        label[silent] = Label.ABSTAIN
        no_code = np.ones(len(label), dtype=bool)
        no_code[sample.askable] = False
        label[no_code] = Label.ABSTAIN
        probability[silent | no_code] = np.nan
        reasons = {
            "the LLM abstained": int(silent.sum()),
            "candidate or history is in neither tree": int(no_code.sum()),
        }
        compared = held_out[sample.answered[held_out]]
        same = (guess[compared] >= self.config.threshold) == (sample.probability[compared] >= self.config.threshold)
        facts = {
            **sample.facts,
            "llm_pairs": int(sample.asked.sum()),
            "student_pairs": int((~sample.asked & ~no_code).sum()),
            "unsure_student_pairs": int((~sample.asked & ~no_code & (abs(guess - 0.5) < self.config.sure)).sum()),
            "agreement": float(same.mean()) if len(same) else None,
            "agreement_pairs": len(same),
            "tokens_of_all": sample.tokens,
        }
        return Verdicts(probability.astype(np.float32), label, {why: n for why, n in reasons.items() if n}, facts)


class _Sample:
    """The pairs that the LLM was asked about so far, and what it said."""

    def __init__(self, question: Question, llm: LLMJudge, config: DistilledJudge.Config) -> None:
        self.question = question
        self.llm = llm
        self.random = np.random.default_rng(config.seed)
        self.askable = np.flatnonzero(llm.plan(question).askable)
        self.features = pair_features(question, config.reads_text, config.reads_order)
        n = len(question.candidates)
        self.asked = np.zeros(n, dtype=bool)
        self.answered = np.zeros(n, dtype=bool)
        self.probability = np.full(n, np.nan)
        self.tokens = 0
        self.facts: dict[str, Any] = {}

    @property
    def count(self) -> int:
        """Pairs asked about."""
        return int(self.asked.sum())

    def tokens_left(self, limit: int | None) -> int | None:
        return None if limit is None else max(0, limit - self.tokens)

    def uniform(self, count: int) -> np.ndarray:
        """Pairs drawn uniformly, in random order."""
        return self.random.choice(self.askable, count, replace=False)

    def least_sure(self, student: HistGradientBoostingClassifier, count: int, sure: float) -> np.ndarray:
        """Pairs not asked yet whose probability is nearest to 1/2, unless the student is sure of them."""
        open_ = self.askable[~self.asked[self.askable]]
        distance = abs(student.predict_proba(self.features[open_])[:, 1] - 0.5) if len(open_) else np.empty(0)
        order = np.argsort(distance, kind="stable")[:count]
        return np.sort(open_[order[distance[order] < sure]])

    def ask(self, pairs: np.ndarray, max_tokens: int | None) -> None:
        pairs = np.unique(pairs)
        question = self.question.about(pairs)
        asked = self.llm.ask(question, self.tokens_left(max_tokens))
        verdicts = self.llm.verdicts(question, asked)
        self.asked[pairs] = asked.place >= 0
        self.answered[pairs] = verdicts.label != Label.ABSTAIN
        self.probability[pairs] = verdicts.probability
        self.tokens += verdicts.facts["tokens_of_all"]
        for name in ("requests", "asked", "tokens", "truncated"):
            verdicts.facts[name] += self.facts.get(name, 0)
        self.facts = {**verdicts.facts, "mode": verdicts.facts["mode"] or self.facts.get("mode", "")}
