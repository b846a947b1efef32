"""What it would cost to encode texts, before any is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_dtlns.text.contract import Encoder, TextwiseEncoder, distinct
from recbole_dtlns.text.kept_vectors import kept_among

_MEASURED = 2000  # texts whose tokens are counted; where there are more, these stand for all


@dataclass(frozen=True)
class EncodingCost:
    """The cost of encoding some texts.

    Attributes:
        what: the texts are.
        texts: different ones.
        kept: of them, how many have a vector already.
        measured: texts whose tokens were counted.
        tokens: of those without a vector; None where nothing counts them.
        by_model: whether a model makes the vectors; what else makes them takes seconds.
    """

    what: str
    texts: int
    kept: int
    measured: int
    tokens: int | None
    by_model: bool

    def text(self) -> str:
        """For the terminal."""
        if not self.by_model:
            return f"{self.what}: {self.texts} different ones, encoded in this process without a model"
        line = f"{self.what}: {self.texts} different ones, {self.kept} with a vector already"
        if self.tokens is None:
            return f"{line}; tokens: unknown; name the model's tokenizer in dtlns_text_tokenizer"
        counted = "" if self.measured == self.texts - self.kept else f" (from {self.measured} texts spread over all)"
        return f"{line}; {self.tokens} tokens to encode{counted}"


def encoding_cost(what: str, encoder: Encoder, texts: Sequence[str], cache: Path) -> EncodingCost:
    """Count texts and tokens; nothing is encoded, and no server is asked.

    Args:
        what: the texts are, in words.
        encoder: that would be given them.
        texts: some may be equal, or empty.
        cache: folder of what is kept between runs.

    Raises:
        EngineError: the tokenizer cannot be loaded.
    """
    asked = distinct(texts)
    if not isinstance(encoder, TextwiseEncoder):
        return EncodingCost(what, len(asked), 0, 0, None, by_model=False)
    known = kept_among(encoder, asked, cache)
    missing = [text for text in asked if text not in known]
    count = encoder.token_counter()
    step = max(1, len(missing) // _MEASURED)
    some = missing[::step]
    tokens = None if count is None else round(count(some) * len(missing) / max(len(some), 1))
    return EncodingCost(what, len(asked), len(known), len(some), tokens, by_model=True)
