"""What an adapter that was fine-tuned here was trained with, so that it is used so, on whatever data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_dtlns.errors import DataError

FILE, QUERY_FILE = "finetuned.json", "query.yaml"


@dataclass(frozen=True)
class AdapterRecord:
    """Written beside an adapter, as `finetuned.json`.

    Attributes:
        base: the model that it is an adapter of.
        base_revision: its state.
        pooling: of the hidden states.
        item_prompt: what stood before the text of an item.
        query: the text that was encoded for a pair, with its placeholders.
        shown: how profiles were made: `profile`, `history` and `text_characters`.
        training: settings, steps and losses.
        train: fingerprint of the train pairs.
    """

    base: str
    base_revision: str | None
    pooling: str
    item_prompt: str
    query: str
    shown: dict[str, Any]
    training: dict[str, Any]
    train: str

    def json(self) -> str:
        """The file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def of(cls, folder: str | Path) -> AdapterRecord | None:
        """The record in a folder; None where it holds none.

        Raises:
            DataError: it cannot be read.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"cannot read {path}, which says what the adapter was trained with: {error}") from error
