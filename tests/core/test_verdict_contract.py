"""What a judge of another package may answer: wrong answers are refused where they are given, with its name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recbole_dtlns.conformance.questions import block_question
from recbole_dtlns.errors import ContractError
from recbole_dtlns.judges.contract import Judge, Question, Verdicts
from recbole_dtlns.preparation.judging import Judging
from recbole_dtlns.preparation.rehearsing import Rehearsing

ASKED = len(block_question().candidates)


def verdicts(n: int, probability: float = 1.0, label: int = 1) -> Verdicts:
    return Verdicts(np.full(n, probability, np.float32), np.full(n, label, np.int8))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "None, and no Verdicts"),
        (verdicts(ASKED - 5), f"one for each of {ASKED} pairs"),
        (verdicts(ASKED + 5), f"one for each of {ASKED} pairs"),
        (Verdicts([1.0] * ASKED, [1] * ASKED), "verdicts whose probability has the shape None"),
        (replace(verdicts(ASKED), label=np.ones(3, np.int8)), r"verdicts whose label has the shape \(3,\)"),
        (verdicts(ASKED, label=7), "the label 7"),
        (verdicts(ASKED, np.nan), "the probability nan"),
        (verdicts(ASKED, 5), "the probability 5"),
        (verdicts(ASKED, 1.25), "the probability 1.25"),
        (verdicts(ASKED, -3), "the probability -3"),
    ],
)
def test_what_is_no_answer_is_refused_by_name(answer: Any, said: str) -> None:
    class Hostile(Judge):
        def judge(self, question: Question) -> Verdicts:
            return answer

    with pytest.raises(ContractError, match=f"the judge 'hostile' gave .*{said}"):
        Judging(Hostile(), Rehearsing(), judge="hostile").ask(block_question(), lambda: None)


def test_an_abstention_needs_no_probability() -> None:
    class Silent(Judge):
        def judge(self, question: Question) -> Verdicts:
            return verdicts(ASKED, np.nan, label=2)

    assert Judging(Silent(), Rehearsing()).ask(block_question(), lambda: None).counts()["abstain"] == ASKED


def test_a_judge_has_nothing_to_remark_unless_it_says_so() -> None:
    assert Judge().remark({"judge": "silent"}) == ""
