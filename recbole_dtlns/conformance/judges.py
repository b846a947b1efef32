"""What every judge must hold to, and what a judge must hold to that judges every pair by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from recbole_dtlns.conformance.plain_copy import plain_copy
from recbole_dtlns.conformance.questions import block_question, without_candidates
from recbole_dtlns.conformance.rules import ConformanceError, require, require_plain
from recbole_dtlns.conformance.told_apart import require_inputs_tell_results_apart
from recbole_dtlns.errors import DTLNSError
from recbole_dtlns.judges.contract import Judge, Label, Question, Verdicts

MakeJudge = Callable[..., Judge]  # the class, or what takes its settings by name


def gives_one_verdict_per_candidate(make: MakeJudge) -> None:
    """Labels int8 [n_pairs], probabilities float32 [n_pairs] in [0, 1], and NaN exactly where the judge abstains.

    The reasons for abstentions add up to them, and facts are plain data.
    """
    for question in (_question(make), _question(make, seed=1)):
        verdicts = make().judge(question)
        n = len(question.candidates)
        probability, label = verdicts.probability, verdicts.label
        require(label.dtype == np.int8, f"labels are {label.dtype}, not int8")
        require(probability.dtype == np.float32, f"probabilities are {probability.dtype}, not float32")
        require(label.shape == (n,), f"labels have the shape {label.shape}, not one for each of {n} candidates")
        require(probability.shape == (n,), f"probabilities have the shape {probability.shape}, not [n_pairs], {n}")
        require(bool(np.isin(label, list(Label)).all()), "a label is none")
        abstains = label == Label.ABSTAIN
        require(bool(np.array_equal(np.isnan(probability), abstains)), "NaN stands elsewhere than abstentions")
        answered = probability[~abstains]
        require(bool(((answered >= 0) & (answered <= 1)).all()), "a probability is outside [0, 1]")
        _check_reasons(verdicts.abstained, int(abstains.sum()))
        require_plain(verdicts.facts, "facts")


def the_same_question_has_the_same_verdicts(make: MakeJudge) -> None:
    """Two judges made alike, asked alike, answer alike, to the last bit."""
    first, second = (_answers(make(), _question(make)) for _ in range(2))
    require(first == second, "the same question was answered differently")


def earlier_questions_do_not_matter(make: MakeJudge) -> None:
    """A verdict rests on nothing but the question: a judge must not carry what it saw over, such as hidden pairs."""
    judge = make()
    judge.judge(_question(make, seed=1))
    require(
        _answers(judge, _question(make)) == _answers(make(), _question(make)),
        "after another question, the same one is answered differently",
    )


def leaves_the_question_alone(make: MakeJudge) -> None:
    """Nothing of the question is written to."""
    question = _question(make)
    before = plain_copy(question)
    make().judge(question)
    require(plain_copy(question) == before, "the question was written to")


def answers_a_question_about_nothing(make: MakeJudge) -> None:
    """Where there are no candidates there are no verdicts, and no error."""
    question = without_candidates(_question(make))
    if question.rehearsal is not None:
        question = replace(question, rehearsal=replace(question.rehearsal, actual=without_candidates(question)))
    try:
        verdicts = make().judge(question)
    except Exception as error:
        raise ConformanceError(f"no candidates: {type(error).__name__}: {error}") from error
    require(len(verdicts.label) == len(verdicts.probability) == 0, "there are verdicts without candidates")
    _check_reasons(verdicts.abstained, 0)


def learns_from_a_rehearsal_alone(make: MakeJudge) -> None:
    """A judge with the trait `rehearses` says clearly that it was given none; another one does without."""
    judge, question = make(), block_question()
    if not judge.rehearses:
        judge.judge(question)
        return
    try:
        judge.judge(question)
    except DTLNSError:
        return
    except Exception as error:
        raise ConformanceError(
            f"without a rehearsal it raises {type(error).__name__}, not an error of recbole_dtlns.errors: {error}"
        ) from error
    raise ConformanceError("it says that it rehearses, and answers without a rehearsal")


def inputs_tell_verdicts_apart(make: MakeJudge) -> None:
    """`inputs` are plain data, and no setting changes a verdict without changing them."""
    question = _question(make)
    require_inputs_tell_results_apart(make, lambda judge: _answers(judge, question))


def a_part_of_the_pairs_has_the_same_verdicts(make: MakeJudge) -> None:
    """Asked about some of the pairs, or about one, it says of them what it says of them among all."""
    question = _question(make)
    whole = make().judge(question)
    n = len(question.candidates)
    for pairs in (np.arange(1, n, 3), np.arange(n // 2), np.array([n - 1])):
        part = make().judge(replace(question.about(pairs), rehearsal=question.rehearsal))
        same = np.array_equal(part.label, whole.label[pairs])
        same &= np.array_equal(part.probability, whole.probability[pairs], equal_nan=True)
        require(same, f"{len(pairs)} of the {n} pairs alone get other verdicts")


JUDGE_CHECKS: tuple[Callable[[MakeJudge], None], ...] = (
    gives_one_verdict_per_candidate,
    the_same_question_has_the_same_verdicts,
    earlier_questions_do_not_matter,
    leaves_the_question_alone,
    answers_a_question_about_nothing,
    learns_from_a_rehearsal_alone,
    inputs_tell_verdicts_apart,
)
PAIRWISE_JUDGE_CHECKS: tuple[Callable[[MakeJudge], None], ...] = (a_part_of_the_pairs_has_the_same_verdicts,)


def _question(make: MakeJudge, seed: int = 0) -> Question:
    return block_question(seed, rehearses=make().rehearses)


def _answers(judge: Judge, question: Question) -> Any:
    verdicts: Verdicts = judge.judge(question)
    return plain_copy((verdicts.probability, verdicts.label))


def _check_reasons(abstained: dict[str, int], count: int) -> None:
    require_plain(abstained, "reasons for abstentions")
    given = sum(abstained.values())
    require(given == count, f"{count} abstentions, and reasons for {given}: {abstained}")
