"""RecBole's `enable_amp`: a run trains whatever autocast lowers, with the loss of single precision but for noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_runs import PLAIN, train

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("LightGCN", PLAIN),
    "slow products": ("LightGCN", {"dtlns_fast": False}),
    "ids": ("NGCF", {"dtlns_sampler": "dtlns", "hidden_size_list": [16, 16]}),
    "vectors": ("LightGCN", {"dtlns_sampler": "mixgcf"}),
    "no product": ("NeuMF", {"dtlns_sampler": "dns"}),
    "lists": ("LightGCN", {"dtlns_preset": "best"}),
    "shared": ("LightGCN", {"dtlns_loss": "sampled_softmax", "dtlns_sampler": "rns"}),
    "generated": (
        "BPR",
        {
            "dtlns_method": "hnlmrec",
            "dtlns_sampler": "rns",
            "dtlns_hnlmrec_space": "teacher",
            "dtlns_hnlmrec_contrast": 0.01,
        },
    ),
}
LOWERED = {"ids", "no product", "lists", "shared", "generated"}  # the others have no product of dense matrices


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("one_thread")
def test_a_run_trains_as_in_single_precision(name: str, tiny: dict[str, Any]) -> None:
    model, settings = RUNS[name]
    whole, mixed = (train(model, tiny, **settings, enable_amp=amp, saved=False) for amp in (False, True))
    losses = [run.trainer.train_loss_dict[0] for run in (whole, mixed)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert (losses[0] != losses[1]) == (name in LOWERED)
    assert {weight.dtype for weight in mixed.trainer.model.parameters()} == {torch.float32}
