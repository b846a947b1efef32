"""Sparse gradients: the same first step, untouched rows as they were, exact resuming, refusals with a reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_runs import PLAIN, QUICK, same_tensors, train

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.models.sparse_gradients import check_sparse_gradients
from recbole_dtlns.errors import CheckpointError, DTLNSError
from recbole_dtlns.training.checkpoint import Checkpoint

SPARSE = {"dtlns_sparse_gradients": True, "dtlns_sampler": "dns"}


def test_the_first_step_is_adams_and_the_rows_of_no_batch_stay(tiny: dict[str, Any]) -> None:
    """Adam moves no row without a gradient in its first step; later it would, by its momentum.

    SparseAdam's epsilon weighs more, by 1 / sqrt(1 - 0.999), which tiny gradients feel.
    """
    one_batch = {**tiny, "dtlns_sampler": "dns", "train_batch_size": 10**6, "dtlns_fast": False}
    rate = 0.001  # RecBole's own, which is how far Adam's first step goes
    dense, sparse = (train("BPR", one_batch, dtlns_sparse_gradients=value) for value in (False, True))
    assert isinstance(sparse.trainer.optimizer, torch.optim.SparseAdam)
    for name, weights in dense.trainer.model.state_dict().items():
        away = (sparse.trainer.model.state_dict()[name] - weights).abs()
        assert away.max() < rate and away.median() < rate / 100, name

    before = train("BPR", tiny, **SPARSE, epochs=0).trainer.model.state_dict()
    after = train("BPR", tiny, **SPARSE, epochs=2).trainer.model.state_dict()
    for name, weights in before.items():
        stays = (after[name] == weights).all(dim=1)
        assert stays[0] and not stays[1:].any(), "the padding is in no batch, and each user and item is"


def test_a_resumed_run_is_equal_to_the_last_bit(tiny: dict[str, Any]) -> None:
    whole = train("BPR", tiny, **SPARSE, epochs=4)
    half = train("BPR", tiny, **SPARSE, epochs=2)
    resumed = train("BPR", tiny, **SPARSE, epochs=4, resume_from=str(half.folder))
    first, second = (Checkpoint.read(run.folder / "last.pth") for run in (whole, resumed))
    assert same_tensors(first.state_dict, second.state_dict) and same_tensors(first.optimizers, second.optimizers)
    with pytest.raises(CheckpointError, match="trained with dtlns_sparse_gradients: True"):
        train("BPR", tiny, dtlns_sampler="dns", epochs=4, resume_from=str(half.folder))


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("LightGCN", {}, "LightGCN propagates whole tables"),
        ("NeuMF", {}, "NeuMF is more than tables of embeddings"),
        ("BPR", {"dtlns_sampler": "mixgcf"}, "negatives that are vectors"),
        ("BPR", {"dtlns_sampler": "rns", "dtlns_loss": "sampled_softmax"}, "not for dtlns_loss: sampled_softmax"),
        ("BPR", {"learner": "sgd"}, "leave learner: sgd out"),
        ("BPR", {"weight_decay": 0.1}, "leave weight_decay out"),
        ("BPR", {"clip_grad_norm": {"max_norm": 1.0}}, "leave clip_grad_norm out"),
        ("BPR", {"dtlns_average_weights": 0.9}, "leave dtlns_average_weights out"),
    ],
)
def test_what_reads_whole_tables_is_refused(model: str, keys: dict[str, Any], message: str) -> None:
    config = DTLNSConfig(model, "any", config_dict={**QUICK, **SPARSE, **keys})
    with pytest.raises(DTLNSError, match=message):
        check_sparse_gradients(config)


def test_plain_recbole_has_them_too(tiny: dict[str, Any]) -> None:
    run = train("BPR", {**tiny, **PLAIN}, dtlns_sparse_gradients=True)
    assert isinstance(run.trainer.optimizer, torch.optim.SparseAdam)
