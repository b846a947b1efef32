"""Space files: what they may hold, and what is refused with what message."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import yaml

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.studies.tune.plan import check_plan, make_plan
from recbole_dtlns.studies.tune.space import Parameter, combinations, parse_space, read_space

YAML = """
learning_rate: {loguniform: [1e-4, 1.0e-2]}  # a comment
embedding_size: {choice: [32, 64]}
mlp_hidden_size: {choice: [[64, 32], [128]]}
dtlns_alpha_structure: {quniform: [0, 1, 0.25]}
n_layers: {randint: [1, 4]}
dropout: {randn: [-0.5, 2]}
"""
LINES = """
learning_rate loguniform -8,-2
embedding_size choice [32, 64]   # a comment

mlp_hidden_size choice ['[64, 32]','[128]']
dropout uniform 0.0,0.5
dtlns_alpha_structure quniform 0,1,0.25
"""


def space(text: str, name: str = "space.yaml") -> list[Parameter]:
    Path(name).write_text(text)
    return read_space(name)


def test_yaml() -> None:
    assert space(YAML) == [
        Parameter("learning_rate", "loguniform", (1e-4, 1e-2)),
        Parameter("embedding_size", "choice", (32, 64)),
        Parameter("mlp_hidden_size", "choice", ([64, 32], [128])),
        Parameter("dtlns_alpha_structure", "quniform", (0, 1, 0.25)),
        Parameter("n_layers", "randint", (1, 4)),
        Parameter("dropout", "randn", (-0.5, 2)),
    ]
    assert parse_space(yaml.safe_load(YAML.replace("1e-4", "1.0e-4"))) == space(YAML)


def test_lines_of_recbole() -> None:
    """Its loguniform gives powers of e."""
    assert space(LINES, "hyper.test") == [
        Parameter("learning_rate", "loguniform", (math.exp(-8), math.exp(-2))),
        Parameter("embedding_size", "choice", (32, 64)),
        Parameter("mlp_hidden_size", "choice", ("[64, 32]", "[128]")),
        Parameter("dropout", "uniform", (0.0, 0.5)),
        Parameter("dtlns_alpha_structure", "quniform", (0, 1, 0.25)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {chioce: [1]}", r"space.yaml: a: unknown distribution 'chioce'.*Did you mean 'choice'"),
        ("a: {uniform: [1]}", r"uniform needs 2 numbers, not \[1\]"),
        ("a: {uniform: [2, 1]}", r"needs a lower bound below the upper one, not 2 and 1"),
        ("a: {loguniform: [0, 1]}", r"needs a lower positive bound"),
        ("a: {uniform: [0, .inf]}", r"needs 2 numbers"),
        ("a: {choice: []}", r"choice needs a list"),
        ("a: {choice: 3}", r"choice needs a list of its arguments, not 3"),
        ("a: [1, 2]", r"a must name one distribution"),
        ("a: {choice: [1]}\na: {choice: [2]}", r"a is written twice"),
        ("- a", r"holds no 'key: \{distribution: arguments\}' lines"),
        ("a: {", r"is not valid yaml"),
        ("{}", r"names no parameter"),
    ],
)
def test_what_is_refused_in_yaml(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a choice [1]\nb choise [2]", r"hyper.test, line 2: 'choise' is none of choice"),
        ("a choice", r"line 1: expected 'key distribution arguments'"),
        ("a uniform 1,x", r"cannot read the arguments '1,x'"),
        ("a uniform 1", r"uniform needs 2 numbers"),
        ("a choice [1]\na choice [2]", r"a is searched twice"),
    ],
)
def test_what_is_refused_in_lines(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(text, "hyper.test")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the search space nowhere.yaml \(looked from"):
        read_space("nowhere.yaml")
    with pytest.raises(ConfigError, match=r"comes with the package: BPR, LightGCN, NeuMF$"):
        read_space("LightGNC")


def test_combinations() -> None:
    parameters = space("a: {choice: [1, 2]}\nb: {grid_search: [1, 2, 3]}\nc: {uniform: [0, 1]}")
    assert combinations(parameters[:2]) == 6
    assert combinations([]) == 1
    assert combinations(parameters) is None


SHIPPED = sorted(path.name for path in (resources.files("recbole_dtlns.properties") / "spaces").iterdir())


def test_three_spaces_are_shipped() -> None:
    assert SHIPPED == ["BPR.yaml", "LightGCN.yaml", "NeuMF.yaml"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_spaces_fit_their_models(name: str) -> None:
    """Every listed value makes a valid configuration, and a bare name finds the file."""
    model = name.removesuffix(".yaml")
    parameters = read_space(model)
    assert len(parameters) >= 5
    check_plan(make_plan(DTLNSConfig(model, "ml-100k"), parameters))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"learning_rat": {"choice": [0.1]}}, r"unknown key 'learning_rat'. Did you mean 'learning_rate'"),
        ({"my_own_setting": {"choice": [0.1]}}, r"searches 'my_own_setting', which neither RecBole nor"),
        ({"embedding_size": {"choice": [64, 0]}}, r"embedding_size: must be a whole number above 0, not 0"),
        ({"dtlns_alfa_structure": {"choice": [0.1]}}, r"dtlns_alfa_structure.*dtlns_alpha_structure"),
        ({"dtlns_sampler": {"choice": ["dns", "dsn"]}}, r"unknown sampler 'dsn'"),
        ({"dtlns_n_candidates": {"choice": [4, 0]}}, r"dtlns_n_candidates"),
        ({"eval_step": {"choice": [1, 2]}}, r"eval_step cannot be searched"),
        ({"gpu_id": {"choice": [0]}}, r"gpu_id cannot be searched"),
    ],
)
def test_spaces_that_cannot_work(entry: dict[str, object], message: str) -> None:
    """Before anything is computed: also where only one of the listed values is wrong."""
    with pytest.raises(ConfigError, match=message):
        check_plan(make_plan(DTLNSConfig("BPR", "ml-100k"), parse_space(entry)))


def test_a_key_of_an_own_model_is_searched_when_it_is_allowed() -> None:
    base = DTLNSConfig("BPR", "ml-100k", config_dict={"allow_unknown_keys": True})
    check_plan(make_plan(base, parse_space({"my_own_setting": {"choice": [0.1]}, "epoch": {"choice": [1]}})))


def test_a_grid_needs_listed_values() -> None:
    plan = make_plan(DTLNSConfig("BPR", "ml-100k"), parse_space({"learning_rate": {"uniform": [0.1, 0.2]}}))
    with pytest.raises(ConfigError, match="a grid search needs listed values, and learning_rate is uniform"):
        check_plan(replace(plan, search="grid"))


def test_a_search_needs_a_metric_that_is_measured() -> None:
    config = DTLNSConfig("BPR", "ml-100k", config_dict={"metrics": ["Recall"], "valid_metric": "NDCG@10"})
    with pytest.raises(ConfigError, match="valid_metric is NDCG@10, which metrics"):
        check_plan(make_plan(config, parse_space({"learning_rate": {"choice": [0.1]}})))


def test_a_search_needs_validation() -> None:
    with pytest.raises(ConfigError, match="a search chooses by validation: set eval_step"):
        config = DTLNSConfig("BPR", "ml-100k", config_dict={"eval_step": 0})
        check_plan(make_plan(config, parse_space({"learning_rate": {"choice": [0.1]}})))


def test_old_names_of_keys_are_searched_under_the_new_ones(caplog: pytest.LogCaptureFixture) -> None:
    (found,) = parse_space({"dtlns_alpha_co": {"uniform": [0, 1]}})
    assert found == Parameter("dtlns_alpha_structure", "uniform", (0, 1))
    assert "dtlns_alpha_co is now called dtlns_alpha_structure" in caplog.text
