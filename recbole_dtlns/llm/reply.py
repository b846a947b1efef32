"""What comes back for a request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class NoReply(Enum):
    """Why there is nothing to read."""

    MALFORMED = "what came back is no reply"
    NO_ANSWER_LIKELY = "none of the answers is among the likely tokens"
    TOO_LONG = "the prompt is longer than the model's context, in its shortest form too"
    FAILED = "the request failed"
    NOT_RECORDED = "the file holds no reply"


@dataclass(frozen=True)
class Reply:
    """What an engine brings back for one request: probabilities, or a text, or the reason why neither.

    Attributes:
        probabilities: of the answers among themselves, where one of some was wanted and the engine can tell.
        text: what the model wrote, where there are no probabilities.
        reason: set when there is nothing to read.
        detail: what went wrong, for examples in messages.
        tokens: computed for the request: prompt tokens that were not in a prefix cache, and generated ones.
        lasting: False when asking again may help (the server failed).
        model: the name under which a server says that it answered; None where the engine knows its model itself.
    """

    probabilities: tuple[float, ...] | None = None
    text: str | None = None
    reason: NoReply | None = None
    detail: str = ""
    tokens: int = 0
    lasting: bool = True
    model: str | None = None

    def plain(self) -> dict[str, Any]:
        """The reply as plain data."""
        return {**vars(self), "reason": self.reason and self.reason.name}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Reply:
        """The reply that `plain` described, also after a way through JSON."""
        found, reason = plain["probabilities"], plain["reason"]
        return cls(
            **{
                **plain,
                "probabilities": None if found is None else tuple(found),
                "reason": None if reason is None else NoReply[reason],
            }
        )


def probabilities(logarithms: Sequence[float]) -> tuple[float, ...] | None:
    """Probabilities of answers among themselves; None when none of them is likely or one is no number.

    Args:
        logarithms: of their probabilities, up to a common summand.
    """
    highest = max(logarithms)
    if any(map(math.isnan, logarithms)) or not -math.inf < highest < math.inf:
        return None
    shares = [math.exp(logarithm - highest) for logarithm in logarithms]
    whole = math.fsum(shares)
    return tuple(share / whole for share in shares)
