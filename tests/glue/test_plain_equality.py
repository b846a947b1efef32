"""With DTL-NS off, a run gives the numbers of RecBole's own `run_recbole`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tiny_runs import PLAIN, QUICK, train

# RecBole's quick start imports Ray for a function that is not called here; an empty module stands in for it.
REAL_RECBOLE = """
import json, sys, types, warnings
warnings.simplefilter("ignore")
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray"].tune = types.ModuleType("tune")
import recbole_dtlns.compat
recbole_dtlns.compat.apply()
from recbole.quick_start import run_recbole
settings = json.loads(sys.argv.pop())
result = run_recbole(config_dict=settings, saved=False)
print("RESULT" + json.dumps({key: result[key] for key in ("best_valid_result", "test_result")}))
"""


def real_recbole(settings: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", REAL_RECBOLE, json.dumps(settings)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[-1])


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        ("BPR", {}),
        ("NeuMF", {"mlp_hidden_size": [16]}),
        ("NGCF", {"hidden_size_list": [8], "node_dropout": 0.1}),
        ("MultiVAE", {"mlp_hidden_dimension": [16], "latent_dimension": 8}),
        ("BPR", {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 2}}),
        ("BPR", {"train_neg_sample_args": {"dynamic": True, "candidate_num": 3}}),
    ],
    ids=["BPR", "NeuMF", "NGCF", "MultiVAE", "popularity", "dynamic"],
)
def test_preset_off_is_recbole(model: str, extra: dict[str, Any]) -> None:
    settings = {**QUICK, "epochs": 2, "train_batch_size": 4096, "eval_batch_size": 400_000, **extra}
    theirs = real_recbole({"model": model, "dataset": "ml-100k", **settings})
    ours = train(model, {**settings, **PLAIN}, dataset="ml-100k", saved=False).result
    for key in ("best_valid_result", "test_result"):
        assert {name: float(value) for name, value in ours[key].items()} == theirs[key]
