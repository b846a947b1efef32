"""Candidates that somebody already has, from a file of (user, item) pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.pair_table import PairTable
from recbole_dtlns.errors import DataError
from recbole_dtlns.teachers.contract import Candidates


def read_candidates(file: str | Path, train: TrainInteractions) -> tuple[Candidates, dict[str, Any]]:
    """Read candidates by token: user_id, item_id, and optionally rank (0 is best) and score.

    Without ranks, rows are ordered by score, and without scores as in the file. A missing score is 1 / (1 + rank).

    Returns:
        the candidates, and facts about rows that were left out: unknown tokens, pairs observed in train, repeats.

    Raises:
        DataError: the file cannot be read or is malformed, or no row is left.
    """
    table = PairTable.read(file, train)
    frame = pd.DataFrame({"user": table.users, "item": table.items, "place": np.arange(len(table))})
    for column in ("rank", "score"):
        if column in table.columns:
            values = pd.to_numeric(table.columns[column], errors="coerce")
            if values.isna().any():
                row = int(values.isna().to_numpy().argmax())
                raise DataError(f"{table.where(row)}: the {column} '{table.columns[column][row]}' is not a number")
            frame[column] = values
    order = "rank" if "rank" in frame else "place"
    if order == "place" and "score" in frame:
        frame["place"] = -frame["score"]
    seen = np.asarray(train.labelled[frame["user"].to_numpy(), frame["item"].to_numpy()]).ravel() > 0
    frame = frame[~seen].sort_values(["user", order], kind="stable")
    repeated = frame.duplicated(["user", "item"])
    frame = frame[~repeated]
    if frame.empty:
        raise DataError(f"every pair of {file} is observed in train: these are no candidates")
    ranks = frame.groupby("user").cumcount().to_numpy()
    scores = frame["score"].to_numpy() if "score" in frame else 1 / (1 + ranks)
    facts = {
        "rows_of_unknown": table.unknown,
        "rows_observed_in_train": int(seen.sum()),
        "rows_repeated": int(repeated.sum()),
    }
    return (
        Candidates(
            frame["user"].to_numpy(np.int32),
            frame["item"].to_numpy(np.int32),
            ranks.astype(np.int32),
            scores.astype(np.float32),
        ),
        facts,
    )
