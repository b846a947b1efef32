"""Presets: what they give to which model, and that one's own settings win."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_runs import train

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.bridge.presets import preset_values

BEST = {"dtlns_preset": "best", "dtlns_judge_rehearsals": 1}


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "DGCF"])
def test_best_teaches_whole_lists_where_a_model_takes_them(model: str, tiny: dict[str, Any]) -> None:
    assert GENERAL[model].takes_lists
    config = DTLNSConfig(model, "tiny", config_dict={**tiny, **BEST})
    settings = config.settings
    assert settings.takes_lists and not settings.relabel_add and not settings.selects
    assert (config["learning_rate"], config["epochs"]) == (0.02, 40)


@pytest.mark.parametrize("model", ["NeuMF", "FISM", "SGL"])
def test_best_gives_weighed_rows_and_hard_negatives_to_the_others(model: str, tiny: dict[str, Any]) -> None:
    assert not GENERAL[model].takes_lists
    config = DTLNSConfig(model, "tiny", config_dict={**tiny, **BEST})
    settings = config.settings
    assert not settings.takes_lists and settings.relabel_add and settings.selects
    assert config["learning_rate"] == tiny.get("learning_rate", 0.001), "a step of lists is not for rows"


def test_best_trains_either_form(tiny: dict[str, Any]) -> None:
    for model in ("BPR", "NeuMF"):
        run = train(model, tiny, **BEST)
        assert run.preparation is not None and len(run.preparation.judged) > 0
        assert run.result["best_valid_score"] > 0


def test_settings_in_place_of_a_presets_are_named(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    train("BPR", {**tiny, "learning_rate": 0.001}, **BEST)
    said = [record.getMessage() for record in caplog.records if "where the preset" in record.getMessage()]
    assert any("learning_rate: 0.001 is used, where the preset best has 0.02" in line for line in said)
    caplog.clear()
    train("BPR", {**tiny, "learning_rate": 0.02, "epochs": 40}, **BEST)
    assert not [record for record in caplog.records if "where the preset" in record.getMessage()]


def test_a_preset_has_no_section_left_in_its_values() -> None:
    for preset in ("best", "rows", "clean", "off", "authors"):
        for model in (None, *map(_recbole, ("BPR", "NeuMF"))):
            assert {"lists", "rows"}.isdisjoint(preset_values(preset, model))


def _recbole(name: str) -> type:
    from recbole.utils import get_model

    model: type = get_model(name)
    return model
