"""With DTL-NS off, models that learn labels from features give the numbers of RecBole's own `run_recbole`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ordered import SEQUENCES, write_walks
from rated import BY_LABEL, RANKED, RATED, SAMPLE, write_rated
from real_recbole import results_of_recbole
from tiny_runs import PLAIN, QUICK, all_or_sample, train

from recbole_dtlns.bridge.models.context import CONTEXT, DECISION_TREES

DRAWN = {"threshold": None, "train_neg_sample_args": {"sample_num": 2}}
OTHERS: dict[str, dict[str, Any]] = {
    "DIN": {"model": "DIN", "dataset": SEQUENCES, "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC"},
    "DIEN": {"model": "DIEN", "dataset": SEQUENCES, "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC"},
    "FM, drawn and ranked": {"model": "FM", "dataset": RATED, **DRAWN, **RANKED},
    "DSSM, drawn": {"model": "DSSM", "dataset": RATED, **DRAWN, "eval_args": {"mode": "uni20"}},
    "labels overwritten": {"model": "DeepFM", "dataset": RATED, "train_neg_sample_args": {"sample_num": 1}},
}
BY_LABELS = [name for name in CONTEXT if name not in DECISION_TREES]
CASES = {**{name: {"model": name, "dataset": RATED} for name in BY_LABELS}, **OTHERS}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Settings by name; what is plain RecBole's of each is RecBole's alone."""
    folder = str(tmp_path_factory.mktemp("data"))
    keys = {
        RATED: {**write_rated(folder), "numerical_features": ["price"]},
        SEQUENCES: write_walks(folder, features=True),
    }
    sampled = {**BY_LABEL, "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20"}}
    return {
        name: {
            **QUICK,
            **keys[case["dataset"]],
            **(sampled if case["dataset"] == SEQUENCES else {}),
            "epochs": 2,
            **case,
        }
        for name, case in CASES.items()
    }


@pytest.fixture(scope="module")
def recboles_results(
    cases: dict[str, dict[str, Any]], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What RecBole's own entry point returns, for the cases that are asked for."""
    asked = {item.callspec.params["case"] for item in request.session.items if item.path == request.path}
    recboles = {
        name: {key: value for key, value in cases[name].items() if not key.startswith("dtlns_")} for name in asked
    }
    return results_of_recbole(recboles, tmp_path_factory.mktemp("recbole"))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", [*all_or_sample(BY_LABELS, SAMPLE), *OTHERS])
def test_preset_off_is_recbole(
    case: str, cases: dict[str, dict[str, Any]], recboles_results: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**cases[case], **PLAIN}
    run = train(settings["model"], settings, dataset=settings["dataset"], saved=False)
    assert list(run.trainer.train_loss_dict.values()) == recboles_results[case]["losses"]
    for key in ("best_valid_result", "test_result"):
        found = {name: float(value) for name, value in run.result[key].items()}
        assert found == recboles_results[case][key]
        assert next(iter(found.values())) > 0
