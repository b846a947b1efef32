"""A mistyped key stops a run; a key that something reads does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import recbole
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.known_keys import MEANT_AS_CONFIG_FILES, READ_UNDOCUMENTED, meant, typing_errors
from recbole_dtlns.errors import ConfigError

RECBOLE = Path(recbole.__file__).parent
# Written by RecBole itself before it reads them; nobody gives them.
MADE = {"device", "eval_type", "local_rank", "single_spec", "valid_neg_sample_args", "test_neg_sample_args"}
MADE |= {"MODEL_TYPE", "MODEL_INPUT_TYPE", "MASK_INDEX", "POS_ITEMS", "NEG_ITEMS", "CROP_ITEM_SEQ_LEN"}
MADE |= {f"{kind}_ITEM_SEQ" for kind in ("MASK", "CROP", "REORDER", "INVERSE")}
MADE |= {"cin", "feature_num"}  # arguments of KD_DAGFM's parts, not of the configuration


def documented() -> set[str]:
    files = [file for file in RECBOLE.glob("properties/**/*.yaml") if not file.stem.endswith("url")]  # of data sets
    return {key for file in files for key in yaml.safe_load(file.read_text()) or {}}


def read() -> set[str]:
    """Every key that RecBole's code reads by name."""
    found: set[str] = set()
    for file in RECBOLE.rglob("*.py"):
        if file.name == "hyper_tuning.py":  # its configurations are spaces of its own
            continue
        text = file.read_text(encoding="utf-8")
        found |= set(re.findall(r"""config(?:_dict)?(?:\.get\(|\[)\s*["'](\w+)["']""", text))
        found |= set(re.findall(r"""["'](\w+)["']\s+(?:not\s+)?in\s+(?:self\.)?config\b""", text))
        found |= set(re.findall(r"""(?:has|get)attr\((?:self\.)?config, ["'](\w+)["']""", text))
    return found


@pytest.mark.parametrize("key", MEANT_AS_CONFIG_FILES)
def test_what_is_taken_for_config_files_is_refused(key: str) -> None:
    """Before the model is looked for, which the file may name; and where it is somebody's key it may be allowed."""
    with pytest.raises(ConfigError, match=f"unknown key '{key}'.*Did you mean 'config_files'"):
        DTLNSConfig(arguments=[f"--{key}=mine.yaml"])
    with pytest.raises(ConfigError, match=f"unknown key '{key}'"):
        DTLNSConfig("BPR", "ml-100k", config_dict={key: ["mine.yaml"]})
    assert DTLNSConfig("BPR", "ml-100k", arguments=[f"--{key}=1", "--allow_unknown_keys"])[key] == 1


def test_every_key_that_recbole_reads_is_known() -> None:
    """Or a genuine key could be taken for a mistyped one."""
    assert read() - documented() - MADE <= READ_UNDOCUMENTED
    assert len(read() & documented()) > 300


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "DiffRec"])
def test_no_key_of_recbole_stops_a_run(model: str) -> None:
    """Whatever model it is for: a config file may hold the settings of several."""
    known = DTLNSConfig(model, "ml-100k")._known_keys()
    assert documented() | (read() - MADE) <= known


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("epoch", "epochs"),
        ("learning_rat", "learning_rate"),
        ("lerning_rate", "learning_rate"),
        ("train_batchsize", "train_batch_size"),
        ("Epochs", "epochs"),
        ("tpok", "topk"),
        ("sed", "seed"),
        ("n_layer", "n_layers"),
        ("embeding_sise", "embedding_size"),
        ("dltns_alpha_structure", "dtlns_alpha_structure"),
        ("eval_arg", "eval_args"),
    ],
)
def test_a_mistyped_key_stops_the_run_and_names_the_known_one(given: str, nearest: str, tmp_path: Path) -> None:
    """Wherever it was given."""
    message = f"unknown key '{given}'. Did you mean '{nearest}'.*--allow_unknown_keys"
    file = tmp_path / "my.yaml"
    file.write_text(f"{given}: 3\n")
    sources: list[dict[str, Any]] = [
        {"config_file_list": [file]},
        {"config_dict": {given: 3}},
        {"arguments": [f"--{given}=3"]},
    ]
    for source in sources:
        with pytest.raises(ConfigError, match=message):
            DTLNSConfig("LightGCN", "ml-100k", **source)


@pytest.mark.parametrize(
    "source",
    [
        {"arguments": ["--epoch=3", "--allow_unknown_keys"]},
        {"arguments": ["--epoch=3", "--allow_unknown_keys=True"]},
        {"config_dict": {"epoch": 3, "allow_unknown_keys": True}},
    ],
)
def test_a_key_of_an_own_model_passes_when_it_is_allowed(source: dict[str, Any]) -> None:
    config = DTLNSConfig("BPR", "ml-100k", **source)
    assert config["epoch"] == 3
    assert config.undocumented_keys() == {"epoch": " Did you mean 'epochs'?"}


@pytest.mark.parametrize("key", ["temperature_of_mine", "my_weight", "p", "xy"])
def test_a_key_like_no_other_passes_and_is_named(key: str) -> None:
    """A short key would be near every short key."""
    config = DTLNSConfig("BPR", "ml-100k", config_dict={key: 1, "n_layers": 2})
    assert list(config.undocumented_keys()) == [key]


def slow_distance(first: str, second: str) -> int:
    """By the definition, recursively."""
    if not first or not second:
        return len(first) + len(second)
    options = [
        slow_distance(first[:-1], second) + 1,
        slow_distance(first, second[:-1]) + 1,
        slow_distance(first[:-1], second[:-1]) + (first[-1] != second[-1]),
    ]
    if first[-2:] == second[-2:][::-1] and len(first) > 1 and len(second) > 1:
        options.append(slow_distance(first[:-2], second[:-2]) + 1)
    return min(options)


@given(st.text("abc", max_size=4), st.text("abc", max_size=4))
def test_typing_errors_are_counted_as_defined(first: str, second: str) -> None:
    assert typing_errors(first, second) == typing_errors(second, first) == slow_distance(first, second)


def test_the_nearest_key_is_meant() -> None:
    assert meant("epohcs", ["epoch", "epochs", "worker"]) == "epochs"
    assert meant("k", ["q", "k_"]) is None
