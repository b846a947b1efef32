"""Labels that somebody already has, from a file of (user, item) pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from recbole_dtlns.components import ComponentConfig, InputFile
from recbole_dtlns.data.pair_table import PairTable
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges.contract import Judge, Label, Question, Verdicts

_LABELS = {
    "positive": Label.POSITIVE,
    "negative": Label.NEGATIVE,
    "abstain": Label.ABSTAIN,
    "1": Label.POSITIVE,
    "0": Label.NEGATIVE,
}
_MISSING = {"abstain": Label.ABSTAIN, "negative": Label.NEGATIVE}


class RecordedJudge(Judge):
    """Looks every candidate up in a table.

    The file has the columns user_id and item_id, tokens as in the data set, and may have `probability` (in [0, 1]) or
    `label` (positive, negative, abstain; 1, 0). With neither, every pair in it is positive. With a probability,
    the threshold makes the label.

    Raises:
        ConfigError: no file is named.
    """

    class Config(ComponentConfig):
        """Settings of labels in a file."""

        prefix = "judge_"

        labels: Annotated[str | None, InputFile("labels")] = None
        """File of labels (.tsv or .parquet: user_id, item_id, optionally label, probability); engine recorded: of batch
        replies (.jsonl)."""
        missing: Literal["abstain", "negative"] = "abstain"
        """The answer for candidates that the file does not name: abstain, or negative for a list of positives."""
        threshold: float = Field(0.5, gt=0, le=1)
        """Probability that makes a positive."""

    config: Config
    version = 1

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        if self.config.labels is None:
            raise ConfigError("dtlns_judge: recorded needs dtlns_judge_labels, a .tsv or .parquet file")
        self.file = Path(self.config.labels)

    def inputs(self) -> dict[str, Any]:
        try:
            content = hashlib.sha256(self.file.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"cannot read the labels in {self.file}: {error.strerror}") from error
        return {
            "judge": "recorded",
            "file": content,
            "missing": self.config.missing,
            "threshold": self.config.threshold,
        }

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates.

        Raises:
            DataError: the file is not usable, contradicts itself, or answers no candidate.
        """
        table = PairTable.read(self.file, question.train)
        probability, label = self._answers(table)
        keys = table.users * question.train.n_items + table.items
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for what, stated in (("label", label[order]), ("probability", probability[order])):
            same = (stated[1:] == stated[:-1]) | (np.isnan(stated[1:]) & np.isnan(stated[:-1]))
            twice = np.flatnonzero((ordered[1:] == ordered[:-1]) & ~same)
            if len(twice):
                raise DataError(
                    f"{table.where(order[twice[0] + 1])}: the pair has another {what} than in "
                    f"{table.where(order[twice[0]])}; keep one"
                )
        wanted = question.pair_keys()
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        found = ordered[place] == wanted
        if len(wanted) and not found.any():
            raise DataError(
                f"{self.file} names none of the {len(wanted)} candidates. If its pairs were candidates of another "
                "teacher, give that list in dtlns_candidates_file"
            )
        rows = order[place]
        default = _MISSING[self.config.missing]
        labels = np.where(found, label[rows], default).astype(np.int8)
        probabilities = np.where(found, probability[rows], 0.0 if default == Label.NEGATIVE else np.nan)
        left_out = int((~found).sum()) if default == Label.ABSTAIN else 0
        reasons = {"not in the file": left_out} if left_out else {}
        if (labels[found] == Label.ABSTAIN).any():
            reasons["recorded as an abstention"] = int((labels[found] == Label.ABSTAIN).sum())
        facts = {
            "file": str(self.file),
            "rows": len(table),
            "rows_of_unknown": table.unknown,
            "found": int(found.sum()),
        }
        return Verdicts(probabilities.astype(np.float32), labels, reasons, facts)

    def remark(self, facts: Mapping[str, Any]) -> str:
        return f"{facts['found']} of them in {facts['file']}, {facts['rows_of_unknown']} rows name unknown tokens"

    def _answers(self, table: PairTable) -> tuple[np.ndarray, np.ndarray]:
        """Probability and label of every row of the file."""
        columns = table.columns
        if "label" in columns:
            text = columns["label"].str.strip().str.lower()
            label = text.map(_LABELS).to_numpy(dtype=float, na_value=np.nan)
            if np.isnan(label).any():
                row = int(np.isnan(label).argmax())
                raise DataError(f"{table.where(row)}: '{columns['label'][row]}' is not positive, negative or abstain")
        else:
            label = np.full(len(table), float(Label.POSITIVE))
        if "probability" not in columns:
            return np.where(label == Label.ABSTAIN, np.nan, label), label
        probability = pd.to_numeric(columns["probability"], errors="coerce").to_numpy(dtype=float)
        bad = (np.isnan(probability) & (label != Label.ABSTAIN)) | (probability < 0) | (probability > 1)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{table.where(row)}: '{columns['probability'][row]}' is not a probability in [0, 1]")
        answered = np.where(probability >= self.config.threshold, float(Label.POSITIVE), float(Label.NEGATIVE))
        return probability, np.where(label == Label.ABSTAIN, float(Label.ABSTAIN), answered)
