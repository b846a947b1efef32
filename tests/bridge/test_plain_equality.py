"""With DTL-NS off, a run gives the numbers of RecBole's own `run_recbole`."""

from __future__ import annotations

from typing import Any

import pytest
from real_recbole import results_of_recbole
from tiny_runs import PLAIN, QUICK, train

SMALL_SEQUENCES = {"MAX_ITEM_LIST_LENGTH": 8, "hidden_size": 16, "n_layers": 1, "inner_size": 16}
CASES: dict[str, dict[str, Any]] = {
    "BPR": {"model": "BPR"},
    "NeuMF": {"model": "NeuMF", "mlp_hidden_size": [16], "embedding_size": 8},
    "NGCF": {"model": "NGCF", "hidden_size_list": [8], "node_dropout": 0.1},
    "MultiVAE": {"model": "MultiVAE", "mlp_hidden_dimension": [16], "latent_dimension": 8},
    "EASE": {"model": "EASE"},
    "popularity": {"model": "BPR", "train_neg_sample_args": {"distribution": "popularity", "sample_num": 2}},
    "dynamic": {"model": "BPR", "train_neg_sample_args": {"dynamic": True, "candidate_num": 3}},
    "SASRec, softmax": {"model": "SASRec", "train_neg_sample_args": None, **SMALL_SEQUENCES},
    "SASRec, pairwise": {"model": "SASRec", "loss_type": "BPR", **SMALL_SEQUENCES},
    "GRU4Rec": {"model": "GRU4Rec", "train_neg_sample_args": None, **SMALL_SEQUENCES},
    "DeepFM": {"model": "DeepFM", "mlp_hidden_size": [16], "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC"},
    "sampled evaluation": {"model": "BPR", "eval_args": {"mode": {"valid": "uni20", "test": "pop20"}}},
}
COMMON = {**QUICK, "dataset": "ml-100k", "epochs": 2, "train_batch_size": 4096, "eval_batch_size": 400_000}
COMMON |= {"user_inter_num_interval": "[0,40]"}  # a third of the users with a tenth of the pairs, for time


@pytest.fixture(scope="module")
def recboles_results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What RecBole's own entry point returns, for the cases that are asked for."""
    asked = {item.callspec.params["case"] for item in request.session.items if item.path == request.path}
    settings = {name: {**COMMON, **CASES[name]} for name in asked}
    return results_of_recbole(settings, tmp_path_factory.mktemp("recbole"))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", CASES)
def test_preset_off_is_recbole(case: str, recboles_results: dict[str, Any]) -> None:
    settings = {**COMMON, **CASES[case], **PLAIN}
    run = train(settings["model"], settings, dataset="ml-100k", saved=False)
    ours = run.result
    assert list(run.trainer.train_loss_dict.values()) == recboles_results[case]["losses"]
    for key in ("best_valid_result", "test_result"):
        assert {name: float(value) for name, value in ours[key].items()} == recboles_results[case][key]
        assert next(iter(ours[key].values())) > 0
