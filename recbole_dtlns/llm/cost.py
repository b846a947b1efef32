"""What requests cost before they are made: their tokens, and how long a number of them took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from recbole_dtlns.llm.request import Request

_MEASURED = 2000  # requests whose tokens are counted; where there are more, these stand for all
_RUN = 40
PROBED = 64  # requests asked to measure the speed of a model on this machine


def count_tokens(
    encode: Callable[[Request], list[int]] | None, requests: Callable[[int, int], Iterable[Request]], count: int
) -> tuple[int, int | None, int | None]:
    """Prompt tokens of some requests; of many, runs of neighbours stand for all, as neighbours share their beginnings.

    Args:
        encode: gives the token ids of a prompt; None without a tokenizer.
        requests: those of the places from one to before another.
        count: how many there are.

    Returns:
        requests looked at, tokens of all, and tokens without what each shares with the one before it (a perfect prefix
        cache); the tokens are None without a tokenizer.
    """
    if encode is None or count == 0:
        return 0, None, None
    looked = whole = new = 0
    before: list[int] = []
    for start in range(0, count, max(_RUN, count * _RUN // _MEASURED)):
        for place, request in enumerate(requests(max(0, start - 1), min(start + _RUN, count))):
            ids = encode(request)
            if place or start == 0:
                looked += 1
                whole += len(ids)
                new += len(ids) - shared_beginning(before, ids)
            before = ids
    return looked, round(whole * count / looked), round(new * count / looked)


def tokens_in_words(looked: int, count: int, tokens: int | None, new_tokens: int | None, tokenizer: str) -> str:
    """A line about what `count_tokens` found.

    Args:
        looked, count, tokens, new_tokens: as there.
        tokenizer: the key, with `dtlns_`, that names one.
    """
    if tokens is None or new_tokens is None:
        return f"tokens: unknown; name the model's tokenizer in {tokenizer}"
    counted = "" if looked == count else f" (from {looked} requests spread over all)"
    return f"prompt tokens: {tokens}{counted}; {new_tokens} where shared beginnings are computed once"


def time_in_words(seconds: float | None, probed: int) -> str:
    """A line about the time that requests take, at the speed of some that were asked."""
    if seconds is None:
        return "time: unknown; --probe=N asks N requests for real, keeps their answers, and measures"
    return f"time: about {_duration(seconds)}, at the speed of {probed} requests asked just now"


def shared_beginning(first: Sequence[int], second: Sequence[int]) -> int:
    """How many token ids two prompts begin with in common."""
    shorter = min(len(first), len(second))
    differ = np.flatnonzero(np.asarray(first[:shorter]) != np.asarray(second[:shorter]))
    return int(differ[0]) if len(differ) else shorter


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
