"""Models times samplers on the users of ml-100k with at most 60 ratings, one epoch each: every pair trains, or is
refused with the reason.

Every run takes a sample of the models; the others are behind the mark `matrix`, and `make test-matrix` runs them.
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

SAMPLE = ("BPR", "LightGCN", "NeuMF")  # of tables, of a graph, of a network that learns labels
OTHERS = sorted(name for name, able in GENERAL.items() if able.negatives and name not in (*SAMPLE, "NCL"))
VECTORS = ("mixgcf", "dens")
SMALL = {
    "user_inter_num_interval": "[0,60]",
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
@pytest.mark.parametrize("model", [*SAMPLE, *(pytest.param(name, marks=pytest.mark.matrix) for name in OTHERS)])
def test_every_pair_trains_or_says_why_not(model: str, sampler: str, prepared: Path) -> None:
    settings: dict[str, Any] = {**SMALL, "dtlns_cache_dir": str(prepared), "dtlns_sampler": sampler}
    if sampler in VECTORS and GENERAL[model].layers is None:
        with pytest.raises(UnsupportedModelError, match=f"{model} takes no negatives that are vectors: it "):
            train(model, settings, dataset="ml-100k")
        return
    run = train(model, settings, dataset="ml-100k", saved=False)
    assert math.isfinite(run.trainer.train_loss_dict[0])
    assert 0 < run.result["test_result"]["recall@10"] < 1
