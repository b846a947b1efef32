"""Models times samplers on ml-100k, one epoch each: every pair trains, or is refused with the reason.

The slow models are behind the mark `matrix`; `make test-matrix` runs them, on the users of at most 60 ratings.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import train

from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.negatives.samplers import SAMPLERS

QUICK_MODELS = ("BPR", "LightGCN", "NGCF", "SGL", "GCMC", "LINE")
SLOW_MODELS = sorted(name for name, able in GENERAL.items() if able.negatives and name not in (*QUICK_MODELS, "NCL"))
VECTORS = ("mixgcf", "dens")
SMALL = {
    "dtlns_n_candidates": 3,
    "dtlns_dns_top": 2,
    "dtlns_srns_memory": 2,
    "train_batch_size": 8192,
    "eval_batch_size": 4_000_000,
    "eval_step": 0,
    "embedding_size": 16,
    "hidden_size_list": [16, 16],
    "user_embedding_size": 8,
    "item_embedding_size": 8,
    "cnn_channels": [1, 4, 4],
    "cnn_kernels": [4, 4],
    "cnn_strides": [4, 4],
    "n_factors": 2,
    "n_iterations": 1,
    "cor_weight": 0.0,
    "neigh_num": 5,
    "conv_kernel_size": 2,
    "pool_kernel_size": 2,
    "num_conv_kernel": 4,
    "neigh_info_method": "random",
}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all pairs, so that ml-100k is prepared once."""
    return tmp_path_factory.mktemp("prepared")


@pytest.mark.filterwarnings("ignore:.*invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("sampler", SAMPLERS.names())
@pytest.mark.parametrize(
    "model", [*QUICK_MODELS, *(pytest.param(name, marks=pytest.mark.matrix) for name in SLOW_MODELS)]
)
def test_every_pair_trains_or_says_why_not(model: str, sampler: str, prepared: Path) -> None:
    settings: dict[str, Any] = {**SMALL, "dtlns_cache_dir": str(prepared), "dtlns_sampler": sampler}
    if model in SLOW_MODELS:
        settings["user_inter_num_interval"] = "[0,60]"
    if sampler in VECTORS and GENERAL[model].layers is None:
        with pytest.raises(UnsupportedModelError, match=f"{model} takes no negatives that are vectors: it "):
            train(model, settings, dataset="ml-100k")
        return
    run = train(model, settings, dataset="ml-100k", saved=False)
    assert math.isfinite(run.trainer.train_loss_dict[0])
    assert 0 < run.result["test_result"]["recall@10"] < 1
