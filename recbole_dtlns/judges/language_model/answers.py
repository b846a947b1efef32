"""Answers are read from a model's reply: strictly, with a reason for every abstention."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import OneOf


class Reason(IntEnum):
    """Why a verdict is an abstention. The numbers are stored: new reasons go to the end."""

    NONE = 0
    MALFORMED = 1
    NO_LABEL_TOKEN = 2
    TOO_LONG = 3
    FAILED = 4
    NOT_RECORDED = 5

    @property
    def sentence(self) -> str:
        """For tables and label cards."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.NONE: "answered",
    Reason.MALFORMED: "the reply is none of the answers",
    Reason.NO_LABEL_TOKEN: "neither answer is among the likely tokens",
    Reason.TOO_LONG: "the prompt is longer than the model's context even without any history",
    Reason.FAILED: "the request failed",
    Reason.NOT_RECORDED: "the file holds no reply",
}
_WITHOUT_REPLY = {
    NoReply.MALFORMED: Reason.MALFORMED,
    NoReply.NO_ANSWER_LIKELY: Reason.NO_LABEL_TOKEN,
    NoReply.TOO_LONG: Reason.TOO_LONG,
    NoReply.FAILED: Reason.FAILED,
    NoReply.NOT_RECORDED: Reason.NOT_RECORDED,
}


@dataclass(frozen=True)
class Answer:
    """The verdict on one pair, as the verdict store keeps it.

    Attributes:
        probability: that the answer is positive; NaN for an abstention.
        label: the likelier answer, or `Label.ABSTAIN`.
        reason: why it is an abstention.
        tokens: computed for this pair.
    """

    probability: float
    label: Label
    reason: Reason = Reason.NONE
    tokens: int = 0

    @classmethod
    def of(cls, probability: float, tokens: int) -> Answer:
        """The label is positive from 1/2 on."""
        return cls(probability, Label.POSITIVE if probability >= 0.5 else Label.NEGATIVE, Reason.NONE, tokens)

    @classmethod
    def abstention(cls, reason: Reason, tokens: int) -> Answer:
        return cls(math.nan, Label.ABSTAIN, reason, tokens)


def read_reply(prompt: Prompt, reply: Reply, count: int) -> list[Answer]:
    """The answers that a reply gives.

    Args:
        prompt: that the request was made with.
        reply: of the engine.
        count: candidates in the request.

    Returns:
        one answer per candidate; a reply that is not exactly what was asked for is an abstention on all of them.
    """
    tokens = _shares(reply.tokens, count)
    if reply.reason is not None:
        return [Answer.abstention(_WITHOUT_REPLY[reply.reason], share) for share in tokens]
    if reply.probabilities is not None:
        positive_share, _ = reply.probabilities
        return [Answer.of(positive_share, share) for share in tokens]
    positive = _read_pair(prompt, reply.text) if prompt.shape == "pair" else _read_list(reply.text, count)
    if positive is None:
        return [Answer.abstention(Reason.MALFORMED, share) for share in tokens]
    return [Answer.of(float(flag), share) for flag, share in zip(positive, tokens, strict=True)]


def _read_pair(prompt: Prompt, text: str | None) -> list[bool] | None:
    """The reply is one of the answers, but for case, quotes, blanks around it and a full stop."""
    said = OneOf(prompt.answers).named(text or "")
    return None if said is None else [said == 0]


def _read_list(text: str | None, count: int) -> list[bool] | None:
    """The reply is a JSON list of different numbers from 1 to count."""
    try:
        numbers = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(numbers, list) or any(type(number) is not int for number in numbers):
        return None
    if len(set(numbers)) < len(numbers) or any(not 1 <= number <= count for number in numbers):
        return None
    return [number in numbers for number in range(1, count + 1)]


def _shares(tokens: int, count: int) -> Sequence[int]:
    """A request's tokens split over its candidates, adding up to the whole."""
    base, rest = divmod(tokens, count)
    return [base + (place < rest) for place in range(count)]
