"""Histories that somebody has, from a table of users and items."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_dtlns.data.pair_table import read_pairs
from recbole_dtlns.errors import DataError


def read_histories(file: str, columns: tuple[str, str], time: str) -> dict[str, list[str]]:
    """The items of every user, in the order of the rows, or of their time where the table has it.

    Args:
        file: tab-separated with a header, or parquet.
        columns: of users and items.
        time: column of times; rows of one time stay in their order.

    Raises:
        DataError: the file cannot be read, lacks a column, or holds a time that is no number.
    """
    table = read_pairs(file, columns)
    users, items = columns
    if time in table:
        times = pd.to_numeric(table[time], errors="coerce").to_numpy(np.float64)
        if wrong := int(np.isnan(times).sum()):
            raise DataError(f"{file}: {wrong} rows hold no number as {time}: write one, or leave the column out")
        table = table.iloc[np.argsort(times, kind="stable")]
    return {str(user): rows[items].tolist() for user, rows in table.groupby(users, sort=True)}
