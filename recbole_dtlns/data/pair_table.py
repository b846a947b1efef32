"""Tables of (user, item) pairs by token, from a tab-separated or parquet file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import DataError, InstallationError

_KEYS = ("user_id", "item_id")
_IN_MARKS = r'"(?:[^"]|"")*"'


@dataclass(frozen=True)
class PairTable:
    """The rows of a file whose user and item both occur in train.

    Attributes:
        file: where it was read.
        users, items: canonical ids, int64 [n].
        lines: line of each row in a text file, row number from 1 in a parquet file, int64 [n].
        columns: the other columns, texts, index 0..n-1.
        unknown: how many rows were left out because train does not hold their user or item.
    """

    file: str
    users: np.ndarray
    items: np.ndarray
    lines: np.ndarray
    columns: pd.DataFrame
    unknown: int

    def __len__(self) -> int:
        return len(self.users)

    def where(self, row: int) -> str:
        """A place in the file, for messages."""
        return f"{self.file}, {'row' if self.file.endswith('.parquet') else 'line'} {self.lines[row]}"

    @classmethod
    def read(cls, file: str | Path, train: TrainInteractions) -> PairTable:
        """Read a file with the columns user_id and item_id (tab-separated with a header, or parquet).

        Raises:
            DataError: the file cannot be read, a column is missing, or no row fits the train data.
        """
        name = str(file)
        frame = read_pairs(name)
        users, items = (
            positions(tokens, frame[column])
            for column, tokens in zip(_KEYS, (train.user_tokens, train.item_tokens), strict=True)
        )
        known = (users >= 0) & (items >= 0)
        if not known.any():
            raise DataError(
                f"none of the {len(frame)} rows of {name} names a user and an item of the train data: is it of another "
                "data set, or does it hold internal numbers instead of tokens?"
            )
        first = 1 if name.endswith(".parquet") else 2
        columns = frame.drop(columns=list(_KEYS))[known].reset_index(drop=True)
        return cls(name, users[known], items[known], np.flatnonzero(known) + first, columns, int((~known).sum()))


def read_pairs(name: str, keys: tuple[str, str] = _KEYS) -> pd.DataFrame:
    """The rows of a table of pairs as text, whoever they name.

    Args:
        name: a file, tab-separated with a header, or parquet.
        keys: the columns of users and items.

    Raises:
        DataError: the file cannot be read, or lacks one of them.
    """
    frame = _read(name)
    if missing := [column for column in keys if column not in frame]:
        raise DataError(f"{name} lacks the column {' and '.join(missing)}; its columns are {', '.join(frame.columns)}")
    return frame


def _read(name: str) -> pd.DataFrame:
    try:
        if name.endswith(".parquet"):
            frame = pd.read_parquet(name).astype(str)
        else:
            frame = pd.read_csv(
                name, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE, encoding="utf-8-sig"
            )
            if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first column for names of the rows
                raise DataError(
                    f"the rows of {name} hold more columns than its header names ({', '.join(frame.columns)}): name "
                    "all of them"
                )
    except ImportError as error:
        raise InstallationError(f"reading {name} needs pyarrow; install it with: pip install pyarrow") from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise DataError(f"cannot read {name}: {error}") from error
    frame = frame.rename(columns=lambda column: str(column).partition(":")[0])
    if repeated := sorted(set(frame.columns[frame.columns.duplicated()])):
        raise DataError(f"{name} has the column {repeated[0]} twice: leave one of the two out")
    return frame


def positions(tokens: np.ndarray, wanted: pd.Series) -> np.ndarray:
    """Place among `tokens` of every wanted one, int64; -1 where they do not hold it.

    A token is looked for as it stands, and then as tables write one that holds quotation marks: in marks, each mark in
    it twice.
    """
    index = pd.Index(tokens.astype(object))
    found = index.get_indexer(pd.Index(wanted.astype(object)))
    marked = (found < 0) & wanted.str.fullmatch(_IN_MARKS).to_numpy(dtype=bool)
    if marked.any():
        inside = wanted[marked].str[1:-1].str.replace('""', '"', regex=False)
        found[marked] = index.get_indexer(pd.Index(inside.astype(object)))
    return found
