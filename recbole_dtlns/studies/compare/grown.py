"""Arms that begin with an earlier run: one on the earliest of their train pairs, as if the data had grown since."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.pairs import canonical_train
from recbole_dtlns.bridge.models.capabilities import is_closed_form
from recbole_dtlns.bridge.runner import assemble_run, load_seeded
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.studies.compare.experiment import Cell
from recbole_dtlns.training.checkpoint import BEST

logger = logging.getLogger("recbole_dtlns")

_DONE = "done"
_NAME = "earlier"  # of the data set: RecBole reads some names, such as ml-100k, from its own copy alone
_VALIDATION = 0.1  # of the earlier pairs, the last


def check_grown(config: DTLNSConfig) -> None:
    """Refuse a model that learns from more than pairs of users and items: the earlier data are cut from these alone.

    Raises:
        ConfigError: the message says what else it learns from.
    """
    model, kind = config["model"], config.kind
    more = ("sequences", kind.ordered), ("features of users and items", kind.featured), ("facts", kind.reads_facts)
    reasons = [
        f"learns from {what}, and the earlier data are pairs of users and items alone" for what, so in more if so
    ]
    if is_closed_form(config):
        reasons = ["is computed in one pass and begins with nothing"]
    if reasons:
        raise ConfigError(f"grown_from: {model} {reasons[0]}: leave grown_from out, or name a model such as BPR")


def earlier_run(cell: Cell, share: float, folder: Path) -> Path:
    """Train on the earliest train pairs of a cell, unless that is done; returns the run folder.

    Of these pairs, the last choose the epoch. Neither validation nor test pairs of the cell are looked at.

    Args:
        cell: whose train pairs are cut.
        share: of the train pairs, by time.
        folder: for all files.

    Raises:
        DataError: the data have no times, or too few pairs.
    """
    done = folder / _DONE
    if done.exists() and (Path(done.read_text()) / BEST).exists():
        return Path(done.read_text())
    keys = {**cell.keys, **_earlier_data(cell, share, folder)}
    run = assemble_run(DTLNSConfig(cell.model, _NAME, config_dict=keys))
    run.fit()
    write_file(done, str(run.folder), "--output")
    return run.folder


def _earlier_data(cell: Cell, share: float, folder: Path) -> dict[str, Any]:
    """Write the earlier data, split in advance; returns the keys that load them."""
    config = DTLNSConfig(cell.model, cell.dataset, config_dict=cell.keys)
    part = load_seeded(config)[1][0]
    train = canonical_train(part)
    if train.times is None:
        raise DataError("grown_from cuts the train pairs by time, and the data have none: add it to load_col")
    users, items = train.histories()
    order = np.argsort(train.times, kind="stable")[: int(share * len(users))]
    learnt = int(len(order) * (1 - _VALIDATION))
    if not 0 < learnt < len(order):
        raise DataError(f"grown_from: {share} leaves {len(order)} of {len(users)} train pairs: too few to learn from")
    columns = {
        f"{part.uid_field}:token": train.user_tokens[users[order]],
        f"{part.iid_field}:token": train.item_tokens[items[order]],
    }
    table = pd.DataFrame(columns)
    last = table.iloc[learnt:]
    for name, rows in (("train", table.iloc[:learnt]), ("valid", last), ("test", last)):  # nothing is measured on test
        text = rows.to_csv(sep=config["field_separator"], index=False, lineterminator="\n")
        write_file(folder / "data" / _NAME / f"{_NAME}.{name}.inter", text, "--output")
    logger.info("the earlier run learns from %d of %d train pairs", learnt, len(users))
    everything = "[0,inf)"
    return {
        "data_path": str(folder / "data"),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": [part.uid_field, part.iid_field]},
        "user_inter_num_interval": everything,
        "item_inter_num_interval": everything,
        "val_interval": None,
        "checkpoint_dir": str(folder / "train"),
        "show_progress": False,
    }
