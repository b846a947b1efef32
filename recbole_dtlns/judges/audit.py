"""Is a judge any good? Ask it about train positives hidden on purpose, where the answer is known."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges.contract import TEXT_VIEW, Judge, Label, Question, Rehearsal
from recbole_dtlns.judges.controls import (
    with_random_paths,
    with_shuffled_order,
    with_shuffled_paths,
    with_shuffled_text,
    without_member,
    without_order,
    without_text,
)

_BINS = 10


@dataclass(frozen=True)
class JudgeScore:
    """One judge's answers against the hidden positives.

    Attributes:
        positive_rate: share of the candidates called positive.
        precision: share of the pairs called positive that are hidden positives. The others are unobserved pairs whose
            truth nobody knows, so this is a lower bound; compare it with that of `always`, the base rate.
        recall: share of the hidden positives among the candidates that are called positive.
        auc: probability that a hidden positive is given a higher probability than another candidate.
        calibration_error: expected calibration error over bins of equal size.
        abstained: pairs left unanswered; they count as not positive, and are left out of `auc` and calibration.
        reliability: per bin, the mean probability and the share of hidden positives.
    """

    positive_rate: float
    precision: float
    recall: float
    auc: float
    calibration_error: float
    abstained: int
    reliability: list[tuple[float, float]]


@dataclass(frozen=True)
class Audit:
    """Several judges on the same hidden positives.

    Attributes:
        hidden: how many train pairs were hidden.
        reachable: how many of them are among the candidates; no judge can find the others.
        candidates: how many pairs were judged.
        scores: by judge.
        agreement: share of pairs with the same label, for every two judges.
        trees_not_read: trees of the run (`structure`, `semantic`) that were given and may know the hidden pairs; the
            judges were asked about trees made anew.
    """

    hidden: int
    reachable: int
    candidates: int
    scores: dict[str, JudgeScore]
    agreement: dict[str, dict[str, float]]
    trees_not_read: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)

    def remark(self) -> str:
        """What the table's head says of trees that were not read; empty where there are none."""
        if not self.trees_not_read:
            return ""
        return (
            "asked on trees made of the train pairs that are left, not on the given paths "
            f"({' and '.join(self.trees_not_read)}), which may know the hidden pairs "
            "(else: dtlns_paths_know_train: False)"
        )

    def table(self) -> str:
        """As text: one line per judge."""
        width = max(len(name) for name in self.scores)
        lines = [
            f"{self.hidden} train positives hidden, {self.reachable} of them among {self.candidates} candidates "
            f"(base rate {self.reachable / self.candidates:.2%})",
            *filter(None, [self.remark()]),
            f"{'judge':<{width}}  positive  precision  recall  AUC    ECE    abstained",
        ]
        for name, score in self.scores.items():
            lines.append(
                f"{name:<{width}}  {score.positive_rate:>8.1%}  {score.precision:>9.2%}  {score.recall:>6.1%}  "
                f"{score.auc:.3f}  {score.calibration_error:.3f}  {score.abstained}"
            )
        return "\n".join(lines)


def audit(judges: Mapping[str, Judge], rehearsal: Rehearsal | None, seed: int, controls: Collection[str] = ()) -> Audit:
    """Ask judges where the answer is known, and score what they say.

    Args:
        judges: the judges by name.
        rehearsal: what they are asked; judges that learn from hidden positives need one within it. None where the
            question cannot be made anew.
        seed: of the controls.
        controls: names of judges that are asked twice more, about the same pairs: with the trees' paths shuffled
            among the items, and with random paths. A judge that reads the trees does worse on these. Where several
            teachers were asked, a judge that learns is asked once more without each, which shows what that one adds.
            A judge to which what items say comes in any way is asked with the texts of other items, and, where it
            learns, without texts: what they add, it does worse by. The same is done with the order of histories, for
            a judge that learns and looks at it, itself or by a teacher.

    Raises:
        ConfigError: the question cannot be made anew.
        DataError: no hidden positive is among the candidates.
    """
    if rehearsal is None:
        raise ConfigError(
            "an audit trains the teacher again without some pairs, which neither a checkpoint nor a file of candidates "
            "allows"
        )
    truth = rehearsal.answers()
    if not truth.any():
        raise DataError(
            f"none of {len(rehearsal.hidden)} hidden positives is among the candidates: raise dtlns_candidates"
        )
    scores, labels = {}, {}
    for name, judge, asked in _trials(judges, rehearsal.question, controls, seed):
        verdicts = judge.judge(asked)
        labels[name] = verdicts.label
        scores[name] = _score(verdicts.label, verdicts.probability, truth)
    agreement = {
        first: {second: float((labels[first] == labels[second]).mean()) for second in labels} for first in labels
    }
    return Audit(len(rehearsal.hidden), int(truth.sum()), len(truth), scores, agreement, rehearsal.trees_not_read)


def _trials(
    judges: Mapping[str, Judge], question: Question, controls: Collection[str], seed: int
) -> Iterator[tuple[str, Judge, Question]]:
    """Name, judge and question of every line of the audit."""
    for name, judge in judges.items():
        yield name, judge, question
        if name in controls:
            yield f"{name}, shuffled paths", judge, with_shuffled_paths(question, seed)
            yield f"{name}, random paths", judge, with_random_paths(question, seed)
        if judge.rehearses and question.opinions is not None and len(question.opinions.names) > 1:
            for member in question.opinions.names:
                yield f"{name}, without {member}", judge, without_member(question, member)
        if (judge.rehearses or name in controls) and _sees_text(judge, question):
            if judge.rehearses:
                yield f"{name}, without text", judge, without_text(question)
            yield f"{name}, shuffled text", judge, with_shuffled_text(question, seed)
        if judge.rehearses and _sees_order(judge, question):
            yield f"{name}, without order", judge, without_order(question)
            yield f"{name}, shuffled order", judge, with_shuffled_order(question, seed)


def _sees_text(judge: Judge, question: Question) -> bool:
    """Whether what items say comes to the judge: as itself, as a tree, or as what a teacher thinks of it."""
    reads = judge.reads_text and question.train.content is not None
    by_teachers = question.opinions is not None and bool(question.opinions.of_text)
    return reads or (judge.rehearses and (by_teachers or TEXT_VIEW in question.views))


def _sees_order(judge: Judge, question: Question) -> bool:
    """Whether the order of histories comes to the judge: as itself, or as what a teacher thinks of it."""
    by_teachers = question.opinions is not None and bool(question.opinions.of_order)
    return question.train.times is not None and (judge.reads_order or by_teachers)


def _score(label: np.ndarray, probability: np.ndarray, truth: np.ndarray) -> JudgeScore:
    positive, answered = label == Label.POSITIVE, label != Label.ABSTAIN
    bins = equal_bins(probability[answered], truth[answered])
    error = sum(count * abs(stated - found) for stated, found, count in bins) / max(int(answered.sum()), 1)
    mixed = truth[answered].any() and not truth[answered].all()
    return JudgeScore(
        positive_rate=float(positive.mean()),
        precision=float(truth[positive].mean()) if positive.any() else 0.0,
        recall=float(positive[truth].mean()),
        auc=float(roc_auc_score(truth[answered], probability[answered])) if mixed else 0.5,
        calibration_error=float(error),
        abstained=int((~answered).sum()),
        reliability=[(stated, found) for stated, found, _ in bins],
    )


def equal_bins(probability: np.ndarray, truth: np.ndarray) -> list[tuple[float, float, int]]:
    """Mean probability, share of positives and size of bins of nearly equal size, split only between values."""
    order = np.argsort(probability)
    ordered, answers = probability[order], truth[order]
    wanted = np.linspace(0, len(ordered), _BINS + 1).astype(int)[1:-1]
    cuts = np.unique(np.searchsorted(ordered, ordered[wanted])) if len(ordered) else wanted[:0]
    groups = zip(np.split(ordered, cuts), np.split(answers, cuts), strict=True)
    return [(float(p.mean()), float(t.mean()), len(p)) for p, t in groups if len(p)]
