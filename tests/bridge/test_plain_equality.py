"""With DTL-NS off, a run gives the numbers of RecBole's own `run_recbole`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_runs import PLAIN, QUICK, train

# RecBole's quick start imports Ray for a function that is not called here; an empty module stands in for it.
REAL_RECBOLE = """
import json, sys, types, warnings
warnings.simplefilter("ignore")
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray"].tune = types.ModuleType("tune")
import recbole_dtlns.compat
recbole_dtlns.compat.apply()
from recbole_dtlns.bridge.repairs.features import mend_recbole
mend_recbole()
from recbole.quick_start import run_recbole
from recbole.trainer import Trainer
epoch, losses = Trainer._train_epoch, []
def watched(*arguments, **named):
    losses.append(epoch(*arguments, **named))
    return losses[-1]
Trainer._train_epoch = watched
cases = json.loads(sys.argv.pop())
results = {}
for name, settings in cases.items():
    losses.clear()
    result = run_recbole(config_dict=settings, saved=False)
    results[name] = {key: result[key] for key in ("best_valid_result", "test_result")} | {"losses": list(losses)}
print("RESULT" + json.dumps(results))
"""

SMALL_SEQUENCES = {"MAX_ITEM_LIST_LENGTH": 8, "hidden_size": 16, "n_layers": 1, "inner_size": 16}
FEW = {"user_inter_num_interval": "[200,inf)"}
BY_VALUE = {"metrics": ["AUC", "LogLoss"], "valid_metric": "AUC"}
RANKED = {"eval_args": {"mode": "full"}, "metrics": ["Recall", "NDCG"], "valid_metric": "NDCG@10"}
DRAWN = {"threshold": None, "train_neg_sample_args": {"sample_num": 1}}
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
    "DIN": {"model": "DIN", **FEW, **BY_VALUE, **SMALL_SEQUENCES, "mlp_hidden_size": [8]},
    "DIEN": {"model": "DIEN", **FEW, **BY_VALUE, **SMALL_SEQUENCES, "mlp_hidden_size": [8], "embedding_size": 8},
    "DeepFM, labels": {"model": "DeepFM", "mlp_hidden_size": [16], **BY_VALUE},
    "DSSM, drawn": {"model": "DSSM", "mlp_hidden_size": [16, 8], **FEW, **DRAWN, **RANKED},
    "AutoInt, drawn": {
        "model": "AutoInt",
        "mlp_hidden_size": [16],
        **FEW,
        **DRAWN,
        **BY_VALUE,
        "eval_args": {"mode": "uni20"},
    },
    "sampled evaluation": {"model": "BPR", "eval_args": {"mode": {"valid": "uni20", "test": "pop20"}}},
}
COMMON = {**QUICK, "dataset": "ml-100k", "epochs": 2, "train_batch_size": 4096, "eval_batch_size": 400_000}
COMMON |= {"user_inter_num_interval": "[50,inf)", "item_inter_num_interval": "[50,inf)"}  # a third of it, for time


@pytest.fixture(scope="module")
def recboles_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What RecBole's own entry point returns, from a process in which nothing of this package but its repairs runs."""
    settings = {name: {**COMMON, **extra} for name, extra in CASES.items()}
    done = subprocess.run(
        [sys.executable, "-c", REAL_RECBOLE, json.dumps(settings)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path_factory.mktemp("recbole"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[-1])


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On several threads RecBole adds gradients up in varying order, so its own results differ from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", CASES)
def test_preset_off_is_recbole(case: str, recboles_results: dict[str, Any]) -> None:
    settings = {**COMMON, **CASES[case], **PLAIN}
    run = train(settings["model"], settings, dataset="ml-100k", saved=False)
    ours = run.result
    assert list(run.trainer.train_loss_dict.values()) == recboles_results[case]["losses"]
    for key in ("best_valid_result", "test_result"):
        assert {name: float(value) for name, value in ours[key].items()} == recboles_results[case][key]
        assert ours[key]["auc" if "AUC" in settings.get("metrics", ()) else "recall@10"] > 0
