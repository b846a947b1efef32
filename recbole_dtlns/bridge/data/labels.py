"""Rows that say whether they are liked, for models that learn it."""

from __future__ import annotations

import logging
from typing import Any

from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.data.file_columns import FileColumns
from recbole_dtlns.bridge.data.pairs import label_column
from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.errors import DataError

logger = logging.getLogger("recbole_dtlns")

_AUC = "auc"
_LABELED = "labeled"  # of RecBole's `eval_args.mode`
_MAKE_LABELS = "to make labels of a number, set threshold, such as {rating: 4}, and let load_col hold it"


def labels_rows(config: Any) -> bool:
    """Whether the model learns labels that the files hold; of a data set that RecBole would download, none is known."""
    found = FileColumns.of(config, "inter") if capability(config.model_class).labels else None
    return found is not None and _source(config) in found.loaded


def _source(config: Any) -> str:
    """The column that labels, or that labels are made of."""
    column: str = next(iter(config["threshold"] or [config["LABEL_FIELD"]]))
    return column


def check_labels(config: Any) -> None:
    """Refuse to learn, or to evaluate by, labels that the data do not hold, before any work.

    A data set that RecBole would download passes.

    Raises:
        DataError: the message names the columns that there are, and the settings that do without.
    """
    found = FileColumns.of(config, "inter") if capability(config.model_class).labels else None
    if found is None:
        return
    model, threshold = config["model"], config["threshold"]
    source = _source(config)
    if found.loaded.get(source) == "float":
        return
    if source in found.loaded:
        raise DataError(
            f"{found.file} has {source} as {found.loaded[source]}, and labels are numbers: RecBole would number such "
            f"tokens from 1. Write 0 and 1 into the column, and {source}:float into the first line"
        )
    what = f"{found.file} has the columns {found}"
    if threshold:
        raise DataError(
            f"threshold makes labels of {source}, which is not loaded; {what}: name one of them in load_col"
        )
    if config["train_neg_sample_args"]["distribution"] == "none":
        raise DataError(
            f"{model} learns labels, and there are none: no column {source} is loaded, and train_neg_sample_args draws "
            f"no negatives; {what}: set train_neg_sample_args to {{sample_num: 1}}; or, {_MAKE_LABELS}"
        )
    if _LABELED in config["eval_args"]["mode"].values():
        raise DataError(
            f"eval_args.mode is {_LABELED}, RecBole's default for models such as {model}, and no column {source} is "
            f"loaded; {what}: rank items instead, with eval_args to hold mode: full, metrics: [Recall, NDCG] and "
            f"valid_metric: NDCG@10; or, {_MAKE_LABELS}"
        )


def check_both_labels(config: Any, parts: list[Dataset]) -> None:
    """Refuse an area under the curve of rows that are all liked, or all not: it has no value.

    Args:
        config: of the run.
        parts: train, validation and test part.

    Raises:
        DataError: the message names the part.
    """
    label = label_column(parts[0])
    if label is None or _AUC not in map(str.lower, config["metrics"]):
        return
    for mode, part, name in zip(("valid", "test"), parts[1:], ("validation", "test"), strict=True):
        if config["eval_args"]["mode"][mode] != _LABELED or not len(part):
            continue
        liked = int((part.inter_feat[label] > 0).sum())
        if liked in (0, len(part)):
            raise DataError(
                f"AUC compares what is liked with what is not, and all {len(part)} rows of {name} are labelled "
                f"{int(liked > 0)} ({label}): set threshold or the split so that {name} has both, or set metrics and "
                "valid_metric to LogLoss alone"
            )


def check_all_labelled(dataset: Dataset) -> None:
    """Refuse interactions without what labels them.

    RecBole fills in the mean over all parts, by which pairs of validation and test would decide what train likes. Plain
    RecBole's runs keep that.

    Args:
        dataset: before missing values are filled in.

    Raises:
        DataError: the message counts the rows.
    """
    config, rows = dataset.config, dataset.inter_feat
    if not (config.settings.active and capability(config.model_class).labels):
        return
    field = next(iter(config["threshold"] or [dataset.label_field]))
    missing = int(rows[field].isna().sum()) if field in rows else 0
    if missing:
        raise DataError(
            f"{missing} of {len(rows)} rows of {dataset.dataset_name} have no {field}, which labels them: RecBole "
            "would fill in the mean over validation and test too. Take them out of the file, or, unless it is split in "
            f"advance, filter them (val_interval: {{{field}: '(-inf,inf)'}})"
        )


def tell_of_labels(config: Any, parts: list[Dataset]) -> None:
    """Say what becomes of rows that are labelled as not liked, and where RecBole does not look at labels.

    Args:
        config: of the run.
        parts: train, validation and test part.
    """
    label = label_column(parts[0])
    disliked = 0 if label is None else int((parts[0].inter_feat[label] <= 0).sum())
    if not disliked:
        return
    logger.info(
        "labels: %d of %d train rows are not liked (%s is 0); they are learnt as such, and are nobody's positives; "
        "negatives are drawn from pairs without a label",
        *(disliked, len(parts[0]), label),
    )
    if config["train_neg_sample_args"]["distribution"] != "none" and not config.settings.makes_rows:
        logger.warning(
            "RecBole, where it draws negatives, trains every row as liked, whatever its label: leave "
            "train_neg_sample_args out, or use a preset of DTL-NS"
        )
    if set(config["eval_args"]["mode"].values()) != {_LABELED}:
        logger.warning(
            "eval_args.mode is not %s: rows of validation and test count as what is sought, whatever their label, as "
            "RecBole has it. To leave some out, filter them (val_interval) in place of threshold",
            _LABELED,
        )
