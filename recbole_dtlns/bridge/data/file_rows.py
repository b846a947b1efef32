"""The rows of a data set's parts as its files have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource, FeatureType

from recbole_dtlns.bridge.data.dataset import DTLNSDataset, read_rows
from recbole_dtlns.data.atomic_file import ORIGIN, WEIGHT, column_name
from recbole_dtlns.errors import DataError

_ROW = "row_of_its_file"


class DatasetOfRows(DTLNSDataset):
    """A data set that knows which row of a file each of its rows is: what was written there is written again.

    RecBole keeps only the columns that are loaded, and scales numbers.
    """

    def _from_scratch(self) -> None:
        self._read: list[pd.DataFrame] = []
        super()._from_scratch()

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        frame = super()._load_feat(filepath, source)
        if source == FeatureSource.INTERACTION and frame is not None:
            rows = read_rows(filepath, self.config)
            if {ORIGIN, WEIGHT} & set(map(column_name, rows)):
                raise DataError(f"{filepath} holds pseudo-positives already: transform the data set that it came from")
            first = sum(map(len, self._read))
            self._read.append(rows)
            frame[_ROW] = np.arange(first, first + len(rows)).astype(str)
            self.field2type[_ROW], self.field2source[_ROW] = FeatureType.TOKEN, FeatureSource.INTERACTION
            self.field2seqlen[_ROW] = 1
        return frame

    def rows_of(self, part: Dataset) -> pd.DataFrame:
        """The rows of a part as its file has them, in the part's order."""
        numbers = part.field2id_token[_ROW][part.inter_feat[_ROW].numpy()].astype(np.int64)
        starts = np.cumsum([0, *map(len, self._read)])
        # Every part comes from one file: the only one, or its own.
        file = int(np.searchsorted(starts, numbers[0], side="right")) - 1 if len(numbers) else 0
        return self._read[file].iloc[numbers - starts[file]].reset_index(drop=True)
