"""Keys are assembled from components: who reads one, what it is called, and what contradicts."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field

from recbole_dtlns import registry
from recbole_dtlns.components import ComponentConfig, SharedKey
from recbole_dtlns.errors import ConfigError, ContractError, InstallationError, UnknownNameError
from recbole_dtlns.negatives.choosing.contract import Choice, ItemSampler
from recbole_dtlns.numerics.schedule import Schedule
from recbole_dtlns.settings.owners import keys_of, owners
from recbole_dtlns.settings.reference import meaning_of, text_reference, type_in_words
from recbole_dtlns.settings.renamed import RENAMED, under_new_names
from recbole_dtlns.settings.settings import DTLNSSettings


class KthHardest(ItemSampler):
    """A sampler of somebody else's."""

    class Config(ComponentConfig):
        """Its settings."""

        k: int = Field(2, ge=1)
        """Which of the highest scored candidates."""

    config: Config
    mixable = True

    def check_candidates(self, most: float) -> None:
        if self.config.k > most:
            raise ConfigError(f"dtlns_second_k ({self.config.k}) must not exceed dtlns_n_candidates ({most:g})")

    def select(self, choice: Choice) -> torch.Tensor:
        return choice.scores.topk(self.config.k, dim=1).indices[:, -1]


class OtherAlpha(ItemSampler):
    """One that disagrees about a key that others read too."""

    class Config(ComponentConfig):
        """Its settings."""

        alpha: Annotated[float, SharedKey("alpha_structure")] = 7.0
        """Something else."""

    config: Config


def announce(monkeypatch: pytest.MonkeyPatch, **samplers: str) -> None:
    points = [EntryPoint(name, where, "recbole_dtlns.samplers") for name, where in samplers.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "recbole_dtlns.samplers" else [])


def settings(**keys: Any) -> DTLNSSettings:
    return DTLNSSettings.from_config({f"dtlns_{key}": value for key, value in keys.items()})


def test_keys_of_components_are_in_the_flat_settings_with_their_defaults() -> None:
    flat = settings(ahns_beta=0.2).flat
    assert (flat["ahns_beta"], flat["ahns_alpha"], flat["teacher_knn_k"]) == (0.2, 1.0, 200)
    assert flat["alpha_structure"] == Schedule.constant(0.1)


@pytest.mark.parametrize("key", ["ahns_beta", "teacher_ease_reg", "srns_memory"])
def test_values_of_components_that_are_not_chosen_are_checked_too(key: str) -> None:
    with pytest.raises(ConfigError, match=f"dtlns_{key}: input should be"):
        settings(sampler="rns", teacher="ItemKNN", **{key: -1})


def test_a_sampler_of_somebody_elses_brings_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, second=f"{__name__}:KthHardest")
    found = settings(sampler="second", second_k=3, mixing=True)
    assert found.flat["second_k"] == 3 and found.of_chosen["second_k"] == 3 and found.makes_vectors
    assert "dtlns_second_k: 2  (int; sampler second)\n    second: which of the highest" in text_reference("second")
    with pytest.raises(ConfigError, match="dtlns_second_k: input should be greater than or equal to 1, not 0"):
        settings(second_k=0)
    with pytest.raises(ConfigError, match=r"unknown key 'dtlns_secnd_k'. Did you mean 'dtlns_second_k'"):
        settings(secnd_k=1)
    with pytest.raises(ConfigError, match=r"dtlns_second_k .11. must not exceed dtlns_n_candidates .10."):
        settings(sampler="second", second_k=11)


def test_components_that_disagree_about_a_key_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, other=f"{__name__}:OtherAlpha")
    with pytest.raises(
        ConfigError, match=r"dtlns_alpha_structure is read by sampler dtlns as .*, and by sampler other"
    ):
        settings()


def test_what_cannot_be_imported_is_in_the_way_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, lost="no_such_package:Sampler")
    assert settings(sampler="dns").sampler == "dns"
    with pytest.raises(
        InstallationError, match=r"the sampler 'lost' \(no_such_package:Sampler\) cannot be imported: Mod"
    ):
        settings(sampler="lost")
    with pytest.raises(ConfigError, match=r"unknown key 'dtlns_lost_k'.*the sampler 'lost' .*cannot be imported"):
        settings(lost_k=1)


def test_what_is_no_sampler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, wrong="builtins:dict")
    with pytest.raises(ContractError, match="the sampler 'wrong' is no subclass of ItemSampler or VectorSampler"):
        settings(sampler="wrong")


def test_every_key_has_a_type_a_meaning_and_a_reader() -> None:
    for name, key in keys_of(owners()).items():
        assert type_in_words(key.field) and meaning_of(key).endswith("."), name
        assert key.owners, name


def test_the_reference_is_asked_by_component_kind_or_part_of_a_name() -> None:
    assert "dtlns_srns_memory: 8  (int; sampler srns)" in text_reference("srns")
    assert "dtlns_pool_power" in text_reference("pool") and "dtlns_srns" not in text_reference("pool")
    assert text_reference("dtlns_n_candidates").startswith("dtlns_n_candidates: 10  (int per epoch; run)")
    with pytest.raises(UnknownNameError, match=r"called 'srnss'. Did you mean 'srns'"):
        text_reference("srnss")
    for without in ("rns", "bpr"):
        with pytest.raises(UnknownNameError, match=f"'{without}' has no keys of its own"):
            text_reference(without)
    with pytest.raises(UnknownNameError, match=r"called 'Zebra'\.$"):
        text_reference("Zebra")


def test_a_word_that_is_in_no_name_is_looked_for_in_the_meanings() -> None:
    found = text_reference("Eigenvectors")
    assert found.startswith("dtlns_structure_dim: 32") and "dtlns_teacher_dim" not in found


def test_what_is_like_a_word_that_fits_nothing_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'dtlns_judge_rehearsals', 'dtlns_\w+' or 'dtlns_\w+'\?"):
        text_reference("judge_reharsels")


def test_the_reference_says_what_presets_make_of_a_key() -> None:
    assert text_reference("dtlns_candidates").splitlines()[2] == "    presets: best 50; rows 50"
    loss = text_reference("dtlns_loss").splitlines()[2]
    assert loss == "    presets: best listwise for models that take whole lists; best auto for other models; rows auto"
    fast = text_reference("dtlns_fast").splitlines()
    assert fast[2] == "    presets: off False" and "presets" not in text_reference("dtlns_seed")


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_names_work_and_say_so(old: str, new: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = DTLNSSettings.from_config({old: 0.25})
    plain = found.model_dump()[new.removeprefix("dtlns_")]
    assert plain == 0.25
    assert f"{old} is now called {new}; the old name still works" in caplog.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dtlns_alpha_co", "dtlns_alpha_structure"),
        ("alpha_se", "dtlns_alpha_semantic"),
        ("dtlns_judge_llm", "dtlns_engine"),
        ("dtlns_judge_timeout", "dtlns_judge_timeout_seconds"),
    ],
)
def test_the_reference_is_asked_by_an_old_name(old: str, new: str, caplog: pytest.LogCaptureFixture) -> None:
    assert text_reference(old).startswith(f"{new}: ")
    assert f"{old} is now called {new}" in caplog.text
    assert text_reference("judge") and len(caplog.records) == 1, "what has one name is asked for without a warning"


def test_a_key_of_a_package_that_is_not_installed_is_taken_for_no_other() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'dtlns_second_k'. All keys"):
        DTLNSSettings.from_config({"dtlns_second_k": 3})


def test_a_key_under_both_of_its_names_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"my.yaml: dtlns_alpha_co is the old name of dtlns_alpha_structure"):
        under_new_names({"dtlns_alpha_co": 1, "dtlns_alpha_structure": 1}, "my.yaml")


def test_new_names_are_keys() -> None:
    assert {new.removeprefix("dtlns_") for new in RENAMED.values()} <= set(keys_of(owners()))


def test_the_keys_are_printed_where_recbole_is_missing() -> None:
    """Also what is asked for in yaml."""
    code = (
        "import sys; sys.modules['recbole'] = None; from recbole_dtlns.commands.command_line import main; "
        "main(['keys', 'srns']); main(['keys', '--format=yaml'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "sampler srns" in done.stdout and "\ndtlns_pool: uniform " in done.stdout, (
        done.stderr
    )


def test_settings_can_be_sent_to_another_process() -> None:
    """RecBole pickles its configuration, and with it the settings."""
    settings = DTLNSSettings.from_config({"dtlns_alpha_structure": {0: 0.5, 3: 0.1}, "dtlns_judge_threshold": 0.7})
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings and again.flat == settings.flat
