"""Built-in judges pass the checks that are given to authors of others, and each check finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.conformance import (
    JUDGE_CHECKS,
    PAIRWISE_JUDGE_CHECKS,
    ConformanceError,
    RuleEngine,
    block_question,
    false_negatives,
    judges,
)
from recbole_dtlns.judges.contract import Judge, Label, Question, Verdicts
from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.recorded import RecordedJudge
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.judges.table import JUDGES

WITHOUT_FILES_AND_MODELS = ("structural", "calibrated", "always", "never", "random", "rank", "shuffled")
PAIRWISE = ("structural", "always", "never", "rank", "shuffled")


@pytest.mark.parametrize("name", WITHOUT_FILES_AND_MODELS)
@pytest.mark.parametrize("check", JUDGE_CHECKS, ids=lambda check: check.__name__)
def test_built_in_judges_conform(check: Callable[..., None], name: str) -> None:
    check(JUDGES.get(name))


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("check", PAIRWISE_JUDGE_CHECKS, ids=lambda check: check.__name__)
def test_judges_of_single_pairs_conform(check: Callable[..., None], name: str) -> None:
    check(JUDGES.get(name))


def labels_of(questions: list[Question]) -> Path:
    """A file that names the right candidates, and leaves a third out."""
    rows = set()
    for question in questions:
        candidates, train = question.candidates, question.train
        for place, right in enumerate(false_negatives(question).tolist()):
            if place % 3:
                user, item = train.user_tokens[candidates.users[place]], train.item_tokens[candidates.items[place]]
                rows.add(f"{user}\t{item}\t{0.9 if right else 0.2}")
    file = Path("labels.tsv")
    file.write_text("user_id\titem_id\tprobability\n" + "\n".join(sorted(rows)) + "\n")
    return file


@pytest.mark.parametrize("check", [*JUDGE_CHECKS, *PAIRWISE_JUDGE_CHECKS], ids=lambda check: check.__name__)
def test_recorded_labels_conform(check: Callable[..., None]) -> None:
    file = str(labels_of([block_question()]))
    check(partial(RecordedJudge, labels=file))


@pytest.mark.parametrize("prompt", ["pair", "user"])
@pytest.mark.parametrize("check", JUDGE_CHECKS, ids=lambda check: check.__name__)
def test_judges_that_ask_a_model_conform(check: Callable[..., None], prompt: str) -> None:
    check(partial(LLMJudge, engine=RuleEngine(), cache_dir="kept", prompt=prompt))


def test_a_prompt_about_one_pair_judges_it_by_itself() -> None:
    for check in PAIRWISE_JUDGE_CHECKS:
        check(partial(LLMJudge, engine=RuleEngine(), cache_dir="kept"))


@pytest.mark.parametrize("check", JUDGE_CHECKS, ids=lambda check: check.__name__)
def test_the_distilled_judge_conforms(check: Callable[..., None]) -> None:
    check(partial(DistilledJudge, engine=RuleEngine(), cache_dir="kept", max_llm_pairs=60))


def test_the_questions_of_the_checks_have_a_known_answer() -> None:
    """The right candidates come first, and a judge that reads the trees finds them."""
    question = block_question(rehearses=True)
    right = false_negatives(question)
    assert right.sum() == 4 * question.train.n_users
    assert (right == (question.candidates.ranks < 4)).all()
    found = StructuralJudge(threshold=0.5).judge(question)
    assert found.probability[right].mean() > found.probability[~right].mean() + 0.3
    assert question.rehearsal is not None
    assert question.rehearsal.answers().any()


class Threshold(Judge):
    """A judge of somebody else's, whole: the teacher's score, squashed."""

    class Config(ComponentConfig):
        """Its settings."""

        least: float = Field(0.6, gt=0, lt=1)
        """Positive from here on."""

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"judge": "threshold", "least": self.config.least}

    def judge(self, question: Question) -> Verdicts:
        probability = (np.tanh(question.candidates.scores) / 2 + 0.5).astype(np.float32)
        return Verdicts(probability, (probability >= self.config.least).astype(np.int8))


@pytest.mark.parametrize("check", [*JUDGE_CHECKS, *PAIRWISE_JUDGE_CHECKS], ids=lambda check: check.__name__)
def test_a_judge_of_few_lines_conforms(check: Callable[..., None]) -> None:
    check(Threshold)


class Wide(Threshold):
    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        return Verdicts(found.probability, found.label.astype(np.int64))


class Forgets(Threshold):
    """The last pair has no verdict."""

    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        return Verdicts(found.probability[:-1], found.label[:-1])


class Percent(Threshold):
    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        return Verdicts(found.probability * 100, found.label)


class Unsure(Threshold):
    """Abstains, with a probability."""

    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        found.label[::2] = Label.ABSTAIN
        return Verdicts(found.probability, found.label, {"unsure": int((found.label == Label.ABSTAIN).sum())})


class NoReason(Threshold):
    """Abstains without a reason."""

    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        found.label[::2] = Label.ABSTAIN
        found.probability[::2] = np.nan
        return Verdicts(found.probability, found.label)


class OwnFacts(Threshold):
    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        return Verdicts(found.probability, found.label, facts={"mean": found.probability.mean()})


class OwnDice(Threshold):
    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        return Verdicts(np.random.default_rng().random(len(found.label)).astype(np.float32), found.label)


class Remembers(Threshold):
    """Knows the pairs of earlier questions, and so those that are hidden in the next."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.known = np.array([], dtype=np.int64)

    def judge(self, question: Question) -> Verdicts:
        users, items = question.train.histories()
        found = super().judge(question)
        found.label[np.isin(question.pair_keys(), self.known)] = Label.NEGATIVE
        self.known = np.union1d(self.known, users * question.train.n_items + items)
        return found


class Scribbles(Threshold):
    def judge(self, question: Question) -> Verdicts:
        question.candidates.scores[:] *= 2
        return super().judge(question)


class Mean(Threshold):
    """Compares with the mean of what it is asked about, which is none where there is nothing."""

    def judge(self, question: Question) -> Verdicts:
        found = super().judge(question)
        least = sum(found.probability.tolist()) / len(found.probability)
        return Verdicts(found.probability, (found.probability >= least).astype(np.int8))


class LearnsFromNothing(Threshold):
    """Says that it rehearses."""

    rehearses = True


class Learns(Threshold):
    """Stumbles where it has nothing to learn from."""

    rehearses = True

    def judge(self, question: Question) -> Verdicts:
        question.rehearsal.answers()  # type: ignore[union-attr]
        return super().judge(question)


class HidesASetting(Threshold):
    def inputs(self) -> dict[str, Any]:
        return {"judge": "threshold"}


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (Wide, judges.gives_one_verdict_per_candidate, "int64, not int8"),
        (Forgets, judges.gives_one_verdict_per_candidate, "not one for each of 480 candidates"),
        (Percent, judges.gives_one_verdict_per_candidate, r"outside \[0, 1\]"),
        (Unsure, judges.gives_one_verdict_per_candidate, "NaN stands elsewhere than abstentions"),
        (NoReason, judges.gives_one_verdict_per_candidate, "240 abstentions, and reasons for 0"),
        (OwnFacts, judges.gives_one_verdict_per_candidate, "facts are not plain data"),
        (OwnDice, judges.the_same_question_has_the_same_verdicts, "answered differently"),
        (Remembers, judges.earlier_questions_do_not_matter, "after another question"),
        (Scribbles, judges.leaves_the_question_alone, "was written to"),
        (Mean, judges.answers_a_question_about_nothing, "ZeroDivisionError"),
        (Forgets, judges.a_part_of_the_pairs_has_the_same_verdicts, "get other verdicts"),
        (Mean, judges.a_part_of_the_pairs_has_the_same_verdicts, "get other verdicts"),
        (LearnsFromNothing, judges.learns_from_a_rehearsal_alone, "answers without a rehearsal"),
        (Learns, judges.learns_from_a_rehearsal_alone, "raises AttributeError, not an error of recbole_dtlns.errors"),
        (HidesASetting, judges.inputs_tell_verdicts_apart, "changes the result, and the inputs do not tell"),
    ],
)
def test_broken_judges_are_found(broken: type[Judge], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


def test_every_check_can_fail() -> None:
    """The list above leaves none out."""
    broken = next(mark for mark in test_broken_judges_are_found.pytestmark if mark.name == "parametrize").args[1]
    assert {check for _, check, _ in broken} == {*JUDGE_CHECKS, *PAIRWISE_JUDGE_CHECKS}
