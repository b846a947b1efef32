"""RecBole's data set under pandas 3, with observed pairs alone."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource

from recbole_dtlns.bridge.data.labels import check_all_labelled
from recbole_dtlns.bridge.repairs.features import fill_missing, own_tensors, sequences_of_pandas_2, times_of
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.atomic_file import OBSERVED, ORIGIN, RELABELLED, WEIGHT, read_header, tolerant
from recbole_dtlns.errors import DataError
from recbole_dtlns.registry import nearest
from recbole_dtlns.storage.yaml_file import read_yaml_file

logger = logging.getLogger("recbole_dtlns")


class DTLNSDataset(Dataset):
    """`recbole.data.dataset.Dataset` with its features mended for pandas 3.

    It holds observed pairs only: rows that `recbole-dtlns transform` added as pseudo-positives say so in their column
    `dtlns_origin`, whether that is loaded or not, and are left out. The stages before training make them again.
    """

    def _from_scratch(self) -> None:
        with sequences_of_pandas_2():
            super()._from_scratch()

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        """As RecBole does, but the first line is checked before, and a byte-order mark is no part of it."""
        wanted, unwanted = self._get_load_and_unload_col(source)
        if wanted == set():
            return super()._load_feat(filepath, source)
        encoding = self.config["encoding"]
        header = read_header(filepath, self.config["field_separator"], encoding)
        if source == FeatureSource.INTERACTION:
            for key, field in (("USER_ID_FIELD", self.uid_field), ("ITEM_ID_FIELD", self.iid_field)):
                if field not in header:
                    raise DataError(
                        f"{filepath} has no column {field}; it has {', '.join(header)}. Rename one, or set {key}"
                    )
                if (wanted and field not in wanted) or (unwanted and field in unwanted):
                    raise DataError(f"load_col or unload_col leaves out {field}, which every model needs")
            if WEIGHT in header and ORIGIN not in header:
                raise DataError(
                    f"{filepath} has the column {WEIGHT} and lacks {ORIGIN}, which says what rows are pseudo-"
                    "positives: they would count as observed. Write it anew with recbole-dtlns transform"
                )
        self.config["encoding"] = tolerant(encoding)
        try:
            rows = super()._load_feat(filepath, source)
            if source == FeatureSource.INTERACTION and ORIGIN in header:
                rows = self._observed(rows, filepath, f"{ORIGIN}:{header[ORIGIN]}")
            return rows
        finally:
            self.config["encoding"] = encoding

    def _observed(self, rows: pd.DataFrame, filepath: str, column: str) -> pd.DataFrame:
        """The rows of a file that are not pseudo-positives.

        Raises:
            DataError: it does not say of every row which it is; a pseudo-positive taken for observed would mask
                evaluation.
        """
        origin = read_rows(filepath, self.config, usecols=[column])[column].fillna("").to_numpy()
        wrong = np.flatnonzero((origin != OBSERVED) & (origin != RELABELLED))
        if len(wrong):
            raise DataError(
                f"{filepath}: {len(wrong)} rows are neither {OBSERVED} nor {RELABELLED} by their column {ORIGIN} (row "
                f"{wrong[0] + 1}: {origin[wrong[0]]!r:.60}): the file is damaged or was edited. Write it anew with "
                "recbole-dtlns transform"
            )
        relabelled = int((origin == RELABELLED).sum())
        if relabelled:
            logger.info(
                "%s: %d rows are pseudo-positives by their column %s, and not observed: they are left out",
                filepath,
                relabelled,
                ORIGIN,
            )
        return rows[origin != RELABELLED].reset_index(drop=True)

    def join(self, df: Interaction) -> Interaction:
        """As RecBole does, with the ids as they are, where it makes a list of numbers of them for every column."""
        for features, field in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
            if features is not None and field in df:
                ids = df[field]
                df.update(Interaction({name: values[ids] for name, values in features.interaction.items()}))
        return df

    def _fill_nan(self) -> None:
        check_all_labelled(self)
        fill_missing(self)

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        with quiet_recbole():
            return own_tensors(super()._dataframe_to_interaction(data), times_of(self, data))


def check_data_set(config: Any) -> None:
    """Refuse a data set that is not there, before anything is written.

    One that RecBole knows by name, and would download, passes.

    Raises:
        DataError: the message says where it was looked for, and names the data set there that is most like it.
    """
    name, folder = config["dataset"], Path(config["data_path"])
    if not folder.exists():
        if name in _downloadable():
            return
        others = [path.name for path in folder.parent.glob("*/") if path.is_dir()]
        raise DataError(
            f"there is no data set '{name}': the folder {folder} does not exist, and it is not a known dataset name. "
            f"Check data_path and dataset.{nearest(name, [*others, *_downloadable(), 'ml-100k'])}"
        )
    parts = config["benchmark_filename"] or ()
    files = [folder / f"{name}.{part}.inter" for part in parts] or [folder / f"{name}.inter"]
    for file in files:
        if not file.is_file():
            raise DataError(
                f"the data set '{name}' has no file {file}: name it so, or check dataset, data_path and "
                "benchmark_filename"
            )


@cache
def _downloadable() -> frozenset[str]:
    file = Path(recbole.__file__).parent / "properties" / "dataset" / "url.yaml"
    return frozenset(read_yaml_file(file, file.name, "name: address"))


def read_rows(filepath: str | Path, config: Any, usecols: list[str] | None = None) -> pd.DataFrame:
    """The rows of an atomic file as text, one for each that RecBole reads of it, in its order."""
    return pd.read_csv(
        filepath,
        delimiter=config["field_separator"],
        usecols=usecols,
        dtype=str,
        keep_default_na=False,
        encoding=tolerant(config["encoding"]),
        engine="python",  # RecBole's choice: it decides what a row is where quotation marks are
    )
