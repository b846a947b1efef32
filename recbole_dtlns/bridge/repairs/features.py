"""User and item features under pandas 3, which RecBole 1.2.1 was not written for.

RecBole fills missing values with `frame[column].fillna(..., inplace=True)`, which pandas 3 applies to a copy: missing
tokens (the padding row has nothing else) then become ids of -2^63, and missing sequences stop the load. It also takes
the lengths of sequences by `series.agg(len)`, which pandas 3 answers with the length of the series.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.dataset import dataset as recbole_dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

OWN_TIME = "dtlns_time"  # of a row, as its file has it


def mend_recbole() -> None:
    """Let RecBole's own data sets read features under pandas 3, in this process.

    For programs that use RecBole without this package's runs, which have a data set class of their own. To be called
    before the data set is made; calling it again changes nothing.
    """
    if getattr(Dataset._from_scratch, "mended", False):
        return
    from_scratch, to_tensors = Dataset._from_scratch, Dataset._dataframe_to_interaction

    def mended_from_scratch(self: Any) -> None:
        with sequences_of_pandas_2():
            from_scratch(self)

    mended_from_scratch.mended = True  # type: ignore[attr-defined]
    Dataset._from_scratch = mended_from_scratch
    Dataset._fill_nan = fill_missing
    Dataset._dataframe_to_interaction = lambda self, data: own_tensors(to_tensors(self, data))


def fill_missing(dataset: Any) -> None:
    """What `Dataset._fill_nan` does under pandas 2: padding for tokens and sequences, the mean for numbers.

    The mean, and the scales of numbers, are of all rows, those of validation and test too: times are noted before.
    """
    dataset.noted_times = _times_before_they_change(dataset)
    for name in dataset.feat_name_list:
        features = getattr(dataset, name)
        for field in features:
            kind = dataset.field2type[field]
            column = features[field]
            if kind == FeatureType.TOKEN:
                features[field] = column.fillna(0).astype(np.int64)
            elif kind == FeatureType.FLOAT:
                features[field] = column.fillna(column.mean())
            else:
                empty = np.array([], dtype=np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
                features[field] = [empty if isinstance(value, float) else value for value in column]


def _times_before_they_change(dataset: Any) -> np.ndarray | None:
    """The times of the rows as their file has them, -inf where it has none; None where they stay what they are."""
    field, config = dataset.time_field, dataset.config
    if field not in dataset.inter_feat or dataset.field2type[field] != FeatureType.FLOAT:
        return None
    times = dataset.inter_feat[field].to_numpy(np.float64, copy=True)
    missing = np.isnan(times)
    scaled = config["normalize_all"] or field in [*(config["normalize_field"] or ()), *(config["discretization"] or ())]
    times[missing] = -np.inf
    return times if scaled or missing.any() else None


def times_of(dataset: Any, data: pd.DataFrame) -> torch.Tensor | None:
    """What was noted of the times of these rows, if they are the interactions; a tensor [n_rows]."""
    noted = getattr(dataset, "noted_times", None)
    return None if noted is None or data is not dataset.inter_feat else torch.as_tensor(noted, dtype=torch.float32)


def own_tensors(shared: Interaction, times: torch.Tensor | None = None) -> Interaction:
    """The same columns in memory of their own: pandas 3 hands out read-only arrays, and tensors would write there.

    Args:
        shared: the columns.
        times: a further column `OWN_TIME`, which is no field of the data set.
    """
    columns = {field: values.clone() for field, values in shared.interaction.items()}
    return Interaction(columns if times is None else {**columns, OWN_TIME: times})


@contextmanager
def sequences_of_pandas_2() -> Iterator[None]:
    """For RecBole's module: `read_csv` fills missing sequences, and `len` of a series of sequences counts each."""

    class PandasWithFilledSequences:
        def __getattr__(self, name: str) -> Any:
            return getattr(pd, name)

        @staticmethod
        def read_csv(*args: Any, **kwargs: Any) -> pd.DataFrame:
            frame = pd.read_csv(*args, **kwargs)
            sequences = [column for column in frame if str(column).endswith("_seq")]
            frame[sequences] = frame[sequences].astype(object).fillna("")
            return frame

    def length(value: Any) -> Any:
        return value.map(len) if isinstance(value, pd.Series) else len(value)

    before = recbole_dataset.pd, recbole_dataset.__dict__.get("len")
    recbole_dataset.pd, recbole_dataset.len = PandasWithFilledSequences(), length
    try:
        yield
    finally:
        recbole_dataset.pd = before[0]
        if before[1] is None:
            del recbole_dataset.len
        else:
            recbole_dataset.len = before[1]
