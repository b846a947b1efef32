"""What a transformed data set says of itself: the settings that load it, and a README."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.recbole_values import ONE_UNIFORM
from recbole_dtlns.bridge.transform import DTLNSTransform
from recbole_dtlns.settings.settings import PREFIX

# RecBole's keys that say how files are read, beside load_col.
_READING = (
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "TIME_FIELD",
    "LABEL_FIELD",
    "field_separator",
    "seq_separator",
    "encoding",
    "threshold",
)
_IMPLICIT = {
    "threshold": None,
    "train_neg_sample_args": ONE_UNIFORM,
    "eval_args": {"mode": "full"},
    "metrics": ["Recall", "NDCG"],
    "valid_metric": "NDCG@10",
}


def settings_file(config: DTLNSConfig, folder: Path, parts: Sequence[str], columns: Sequence[str]) -> str:
    """A config file that loads the folder, for RecBole and for runs of this package.

    Args:
        config: what the data set was made with.
        folder: where it lies.
        parts: names of its parts.
        columns: of the original's interactions.
    """
    wanted = config["load_col"]
    wanted = "*" if wanted is None else wanted["inter"]
    keys: dict[str, Any] = {
        "data_path": str(folder.parent),
        "benchmark_filename": list(parts),
        # Named one by one: all columns would be those that the transform added too.
        "load_col": {"inter": list(columns if wanted == "*" else wanted)},
    }
    keys |= {key: config[key] for key in _READING if key in config.external_config_dict}
    given = config.portable().items()
    keys |= {key: value for key, value in given if key.startswith(PREFIX) and key != f"{PREFIX}cache_dir"}
    return yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, default_flow_style=None)


def readme(
    config: DTLNSConfig, folder: Path, transform: DTLNSTransform, codes: Sequence[str], copied: Sequence[str]
) -> str:
    """What the folder holds, how to load it, and what RecBole makes of it.

    Args:
        config: what the data set was made with.
        folder: where it lies.
        transform: after `fit`.
        codes: the item fields that hold tree codes.
        copied: endings of the files that were copied.
    """
    user, item = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
    features = {"load_col": {"inter": [user, item], "item": [item, *codes]}, **_IMPLICIT}
    train = transform.preparation.train
    return _README.format(
        name=folder.name,
        origin=config["dataset"],
        size=f"{train.matrix.nnz} train pairs of {train.n_users} users and {train.n_items} items",
        trees=", ".join(f"`{field}`" for field in transform.codes),
        added=len(transform.positives),
        forbidden=len(transform.forbidden),
        given=f"--dataset={shlex.quote(folder.name)} --config_files={shlex.quote(f'{folder}/{folder.name}.yaml')}",
        features=yaml.safe_dump(features, sort_keys=False, default_flow_style=None, allow_unicode=True),
        copied="".join(f"| `{folder.name}.{ending}` | as it was |\n" for ending in copied),
    )


_README = """# {name}

Made of the data set `{origin}` by `recbole-dtlns transform`, from its train part alone: {size}.

| file | what |
|---|---|
| `{name}.train.inter` | the observed rows, then {added} pseudo-positives (unobserved, called positive by a judge) |
| `{name}.valid.inter`, `{name}.test.inter` | the rows of the original, as they were |
| `{name}.item` | the items of the original with their columns, and two item trees as columns |
| `{name}.forbidden` | {forbidden} pairs that should not be drawn as negatives; RecBole does not read it |
| `{name}.yaml` | settings that load all this |
{copied}
Columns of `{name}.train.inter` beside the original's: `dtlns_weight`, what a row is worth in training beside an
observed one, and `dtlns_origin`, `observed` or `relabelled`. No model of RecBole's reads weights, and one that takes
all columns for features would take these too: load them only for code of your own. The other columns of a
pseudo-positive are made up: label 1, the time of the user's last train row, the mean of train for other numbers (of
those that reach the `threshold`, where one was set), nothing for tokens and sequences. A `threshold` set later may thus
turn pseudo-positives into negatives: give it to `recbole-dtlns transform`.

Columns of `{name}.item`, for each tree: {trees} the nodes on an item's path, named by the path that
leads to them, and with `_1`, `_2`, ... at the end one level each. Items that are not in train have none.

## Load it

A general recommender, in RecBole or here:

```
python run_recbole.py --model=BPR {given}
recbole-dtlns train --model=LightGCN {given}
```

FM, DeepFM and others that take features read the tree codes with these settings, in a file named after `{name}.yaml`
(leave out levels that you do not want):

```yaml
{features}```

RecBole 1.2.1 reads no item features at all under pandas 3; `recbole_dtlns.mend_recbole()` mends that, called before
RecBole loads the data.

## What plain RecBole makes of it: inflated metrics

RecBole takes every train pair for an observed one and masks it at validation and test. A masked pseudo-positive can be
no wrong answer any more, and where it is a right one, it is not masked: **metrics of plain RecBole on this folder are
higher than they should be, for every model**, and comparable with nothing.

Runs of `recbole-dtlns` and `run_recbole_dtlns.py` read the column `dtlns_origin`, loaded or not, leave those rows out,
and so mask observed pairs only. `dtlns_relabel_add: True` (the default) makes the same pseudo-positives again, from the
cache, and trains on them; `dtlns_preset: off` trains on observed pairs alone. In a program of your own, use
`recbole_dtlns.DTLNSTransform` between RecBole's `dataset.build()` and its loaders, and make the samplers of evaluation
from the parts before the transform.
"""
