"""The documented keys, the checked keys and the guide say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from recbole.model.general_recommender import BPR, NeuMF

from recbole_dtlns.bridge.models.kinds import KINDS, capability_table
from recbole_dtlns.bridge.presets import preset_values
from recbole_dtlns.components import PREFIX
from recbole_dtlns.settings.reference import yaml_reference
from recbole_dtlns.settings.settings import DTLNSSettings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = ROOT / "properties" / "dtlns.yaml"


def test_every_key_is_documented_with_its_default() -> None:
    documented = yaml.safe_load(DOCUMENTED.read_text())
    assert documented.pop("resume_from") is None
    assert documented.pop("refit") is False
    assert (documented.pop("init_from"), documented.pop("init_new")) == (None, "neighbours")
    assert documented.pop("allow_unknown_keys") is False
    checked = {f"{PREFIX}{name}": value for name, value in DTLNSSettings.from_config({}).model_dump().items()}
    assert documented == checked


def test_the_documentation_is_made_of_the_components_own_words() -> None:
    """Where this fails, run: recbole-dtlns keys --format=yaml > properties/dtlns.yaml"""
    assert DOCUMENTED.read_text() == yaml_reference()


TYPES = "str|int|float|bool|bool or (str|int)|dict|list of (str|int)|(int|float) per epoch"


def test_every_key_says_its_type_and_meaning() -> None:
    lines = [line for line in DOCUMENTED.read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(rf"\w+: \S.*\s# \(({TYPES})\) [^ ].*\.", line), line


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "properties" / "presets").glob("*.yaml")))
def test_presets_are_valid_and_documented(preset: str) -> None:
    for model in (BPR, NeuMF):
        settings = DTLNSSettings.from_config({"dtlns_preset": preset, **preset_values(preset, model)})
        assert settings.leaking == (preset == "authors")
        assert settings.active == (preset != "off")


def test_the_guide_holds_the_tables_of_models() -> None:
    page = (ROOT / "docs" / "reference" / "models.md").read_text()
    for kind in KINDS.values():
        assert capability_table(kind) in page, kind.name


def test_the_config_file_of_the_guide_states_the_defaults() -> None:
    block = re.search(
        r"```yaml\n(# RecBole's own keys.*?)```", (ROOT / "docs" / "start" / "first-run.md").read_text(), re.DOTALL
    )
    assert block
    documented = yaml.safe_load(DOCUMENTED.read_text())
    for key, value in yaml.safe_load(block.group(1)).items():
        if key.startswith(PREFIX):
            assert value == documented[key], key
