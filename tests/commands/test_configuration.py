"""Settings: where they come from, which wins, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from recbole.model.general_recommender import BPR

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.models.general import GENERAL
from recbole_dtlns.bridge.runner import run_recbole_dtlns
from recbole_dtlns.errors import ConfigError, DTLNSError, InstallationError, UnknownNameError, UnsupportedModelError
from recbole_dtlns.numerics.schedule import Schedule


class MyBPR(BPR):
    """Somebody's model; its defaults are those of BPR."""


def configure(*arguments: str, **settings: Any) -> DTLNSConfig:
    return DTLNSConfig("BPR", "ml-100k", config_dict=settings, arguments=arguments)


WRONG = [
    ({"dtlns_aplha_structure": 1}, "unknown key 'dtlns_aplha_structure'. Did you mean 'dtlns_alpha_structure'"),
    ({"dtlns_alpha_structure": "much"}, "dtlns_alpha_structure: .*number.*'much'"),
    ({"dtlns_alpha_structure": -1}, "dtlns_alpha_structure: must be at least 0 in every epoch, not -1"),
    (
        {"dtlns_alpha_structure": {0: 0.1, "ten": 0.2}},
        "dtlns_alpha_structure: write a number, or a number per epoch such as",
    ),
    ({"dtlns_n_candidates": {0: 0, 9: 10}}, "dtlns_n_candidates: must be at least 1 in every epoch"),
    ({"dtlns_relabel_weight": 0}, "dtlns_relabel_weight: .*greater than 0"),
    ({"dtlns_relabel_weight": float("inf")}, "dtlns_relabel_weight: .*finite"),
    ({"dtlns_candidates": 2.5}, "dtlns_candidates: .*integer"),
    ({"dtlns_candidates": True}, "dtlns_candidates: a number is wanted, not True"),
    ({"dtlns_n_candidates": True}, "dtlns_n_candidates: write a number, or a number per epoch"),
    ({"dtlns_pool_depths": [2, True]}, "dtlns_pool_depths: a number is wanted, not .2, True"),
    (
        {"dtlns_tree_branching": 10**9, "dtlns_tree_leaf_size": 10**9},
        "dtlns_tree_branching: input should be less than or equal to 4096",
    ),
    ({"dtlns_structure_dim": 10**9}, "dtlns_structure_dim: input should be less than or equal to 4096"),
    ({"dtlns_teacher_dim": 10**9}, "dtlns_teacher_dim: input should be less than or equal to 4096"),
    ({"dtlns_tree_balance": "best"}, "dtlns_tree_balance: .*'regret', 'none' or 'authors'"),
    ({"dtlns_preset": "cleen"}, "unknown preset 'cleen'.*authors, best, clean, off, rows.*'clean'"),
    ({"dtlns_teacher": "EASY"}, "unknown teacher 'EASY'.*NeighbourRidge, EASE.*ContentKNN.*, checkpoint.*'EASE'"),
    ({"dtlns_judge": "structual"}, "unknown judge 'structual'.*structural.*Did you mean 'structural'"),
    ({"dtlns_sampler": "dtnls"}, "unknown sampler 'dtnls'.*recbole.*'dtlns'"),
    ({"dtlns_teacher": "checkpoint"}, "needs dtlns_teacher_checkpoint"),
    ({"dtlns_tree_leaf_size": 3}, "dtlns_tree_leaf_size .3. must be at least dtlns_tree_branching .4."),
    ({"dtlns_pool": "tre"}, "unknown pool 'tre'. Choices: uniform, popularity, tree, file. Did you mean 'tree'"),
    ({"dtlns_sampler": "rns", "dtlns_mixing": True}, "dtlns_mixing is not for dtlns_sampler: rns; it mixes what dtlns"),
    ({"dtlns_sampler": "dens", "dtlns_tree_terms": True}, "dtlns_tree_terms has no effect on dtlns_sampler: dens"),
    ({"dtlns_sampler": "popularity", "dtlns_pool": "tree"}, "popularity draws from its own pool: leave out dtlns_pool"),
    ({"dtlns_preset": "off", "dtlns_pool": "tree"}, "dtlns_pool: tree needs a dtlns_sampler other than recbole"),
    ({"dtlns_preset": "off", "dtlns_loss": "bpr"}, "dtlns_loss: bpr needs a dtlns_sampler other than recbole"),
    ({"dtlns_sampler": "rns", "dtlns_pool": "tree"}, "tree draws a share of several candidates, and .*rns takes one"),
    ({"dtlns_pool": "file"}, "dtlns_pool: file and dtlns_pool_file, a table of user_id and item_id, go together"),
    ({"dtlns_pool_file": "pool.tsv"}, "dtlns_pool: file and dtlns_pool_file"),
    ({"dtlns_pool_depths": []}, "dtlns_pool_depths: .*at least 1 item"),
    (
        {"dtlns_loss": "sampled_softmax", "dtlns_pool": "tree"},
        "takes negatives that a batch shares.*dtlns_pool: uniform",
    ),
    ({"dtlns_loss": "gbce", "dtlns_mixing": True}, "takes negatives that a batch shares.*set dtlns_sampler to rns"),
    ({"dtlns_loss": "gbce", "dtlns_loss_calibration": 1.5}, "dtlns_loss_calibration"),
    ({"dtlns_loss": "bprr"}, "unknown loss 'bprr'. Choices: model, auto, bpr, .*Did you mean 'bpr'"),
    ({"dtlns_loss_debiased": True}, "dtlns_loss_debiased weighs negatives one by one: set dtlns_loss to bpr"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=[str(next(iter(keys.items()))) for keys, _ in WRONG])
def test_wrong_settings_are_named_with_the_way_out(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(**settings)


RECBOLE_WRONG = [
    ({"epochs": -3}, "epochs: .*greater than or equal to 0, not -3"),
    ({"learning_rate": "fast"}, "learning_rate: .*number, not 'fast'"),
    ({"learning_rate": -0.1}, "learning_rate: .*greater than or equal to 0, not -0.1"),
    ({"learning_rate": 1e300}, "learning_rate: .*less than or equal to 1000000"),
    ({"learning_rate": float("inf")}, "learning_rate: .*finite"),
    ({"embedding_size": -4}, "embedding_size: must be a whole number above 0, not -4"),
    ({"reg_weight": "none"}, "reg_weight: must be a number, not 'none'"),
    ({"stopping_step": "x"}, "stopping_step: .*integer, not 'x'"),
    ({"seed": -1}, "seed: .*greater than or equal to 0, not -1"),
    ({"topk": [0]}, "topk.0: .*greater than or equal to 1, not 0"),
    ({"topk": []}, "topk: .*at least 1 item"),
    ({"metrics": ["Recal"]}, "metrics.0: must be one of RecBole's metrics.* not 'Recal'. Did you mean 'recall'"),
    ({"metrics": ["AUC", "Recall"]}, "AUC, Recall hold metrics of rankings and of values"),
    ({"metrics": "AUC"}, "AUC cannot be computed with eval_args.mode: full"),
    ({"valid_metric": 5}, "valid_metric: .*string, not 5"),
    ({"eval_args": 5}, "eval_args: must be a mapping of its own keys to values, not 5"),
    ({"eval_args": {"splt": {"RS": [0.8, 0.1, 0.1]}}}, "unknown key 'eval_args.splt'. Did you mean 'split'"),
    ({"eval_args": {"split": {"RS": [0.8, 0.3, -0.1]}}}, "eval_args.split: the shares of RS must not be below 0"),
    ({"eval_args": {"mode": "ful"}}, "eval_args.mode: must be full, labeled"),
    ({"train_neg_sample_args": {"distribution": "unifrom"}}, "train_neg_sample_args.distribution: .*'uniform'"),
    ({"load_col": 7}, "load_col: write the fields of each file"),
    ({"user_inter_num_interval": "[5,"}, "user_inter_num_interval: write an interval such as"),
    ({"USER_ID_FIELD": 4}, "USER_ID_FIELD: must be text, not 4"),
    ({"use_gpu": "maybe"}, "use_gpu: must be True or False, not 'maybe'"),
    ({"learner": "adm"}, "learner: must be one of adam,"),
    ({"clip_grad_norm": {"max_nrm": 1}}, "unknown key 'clip_grad_norm.max_nrm'. Did you mean 'max_norm'"),
    ({"discretization": 4}, "discretization: .*dictionary, not 4"),
    ({"resume_from": 5}, "resume_from: must be a path, not 5"),
    ({"checkpoint_dir": ""}, "checkpoint_dir: must be a path, not ''"),
    ({"local_rank": 0}, "local_rank follows from the other settings and the machine: leave it out"),
    ({1: 2}, "config_dict: the key 1 is no name"),
]


@pytest.mark.parametrize(("settings", "message"), RECBOLE_WRONG, ids=[str(keys) for keys, _ in RECBOLE_WRONG])
def test_wrong_values_of_recboles_keys_are_named_before_any_work(settings: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DTLNSConfig("LightGCN", "ml-100k", config_dict=settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"topk": 5},
        {"topk": (5, np.int64(10))},
        {"metrics": "recall"},
        {"metrics": "AUC", "valid_metric": "AUC", "eval_args": {"mode": "labeled"}},
        {"load_col": None},
        {"clip_grad_norm": {"max_norm": 5, "norm_type": 2}},
        {"load_col": {"inter": "*"}},
        {"user_inter_num_interval": "[5,inf);(0,2]"},
        {"user_inter_num_interval": "[0,60]", "item_inter_num_interval": "(0,60)"},
        {"TIME_FIELD": None},
        {"train_neg_sample_args": None},
        {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": None}},
        {"data_path": Path("data")},
        {"reg_weight": 0},
        {"gpu_id": (0, 1), "use_gpu": False},
        {"learner": "SGD", "state": "Info"},
    ],
    ids=str,
)
def test_what_recbole_takes_is_taken(settings: dict[str, Any]) -> None:
    DTLNSConfig("LightGCN", "ml-100k", config_dict=settings)


@pytest.mark.parametrize("model", GENERAL)
def test_the_written_configuration_of_every_model_is_read_again(model: str) -> None:
    """With RecBole's own defaults, and with what RecBole has made of them."""
    written = DTLNSConfig(model, "ml-100k").plain()
    assert DTLNSConfig(config_dict=written).plain() == written


def test_a_missing_package_of_a_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InstallationError, match="log_wandb: True needs the package wandb: pip install wandb"):
        configure(log_wandb=True)


CONTRADICTIONS = [
    ({"train_neg_sample_args": {"distribution": "uniform", "dynamic": True}}, "dynamic: True is RecBole's own"),
    ({"train_neg_sample_args": {"distribution": "popularity"}}, "distribution is 'popularity'"),
    ({"train_neg_sample_args": None}, "train_neg_sample_args draws no negatives, so nothing can be chosen"),
    (
        {
            "dtlns_sampler": "rns",
            "dtlns_loss": "sampled_softmax",
            "train_neg_sample_args": {"distribution": "uniform", "sample_num": 2},
        },
        "set train_neg_sample_args.sample_num to 1",
    ),
    (
        {"dtlns_pool": "file", "dtlns_pool_file": "nothere.tsv"},
        "nothere.tsv does not exist .looked in",
    ),
    ({"repeatable": True}, "repeatable: True"),
    ({"valid_metric": "Recall@7"}, "valid_metric is Recall@7, which metrics .* at topk .10. do not hold"),
    ({"valid_metric": "AUC"}, "valid_metric is AUC"),
    ({"valid_metric": "Recall"}, "valid_metric is Recall, which metrics .* at topk .10. do not hold"),
]


@pytest.mark.parametrize(("settings", "message"), CONTRADICTIONS)
def test_contradictions_with_recbole_keys_are_refused_before_loading(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_recbole_dtlns("BPR", "no-such-data", config_dict=settings)


def test_command_line_over_dict_over_file_over_preset_over_default(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "dtlns_preset: authors\ndtlns_alpha_structure: 0.5\ndtlns_alpha_semantic: 0.5\ndtlns_n_candidates: 5\n"
    )
    settings = DTLNSConfig(
        "BPR",
        "ml-100k",
        [file],
        {"dtlns_alpha_semantic": 0.6, "dtlns_n_candidates": 6},
        ["--dtlns_n_candidates=7", "--epochs=3"],
    ).settings
    assert (settings.alpha_structure, settings.alpha_semantic, settings.n_candidates) == tuple(
        map(Schedule.constant, (0.5, 0.6, 7))
    )
    assert (settings.preset, settings.relabel_weight, settings.tree_branching) == ("authors", 1.0, 4)


@pytest.mark.parametrize("source", ["file", "dict", "argument"])
def test_old_names_of_keys_take_the_place_of_new_ones_from_weaker_sources(
    source: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The defaults and an earlier file have the new name, so both names meet."""
    before, file = tmp_path / "before.yaml", tmp_path / "old.yaml"
    before.write_text("dtlns_alpha_structure: 0.7\n")
    file.write_text("dtlns_alpha_co: 0.2\n")
    config = DTLNSConfig(
        "BPR",
        "ml-100k",
        config_file_list=[before, file] if source == "file" else [before],
        config_dict={"dtlns_alpha_co": 0.2} if source == "dict" else None,
        arguments=["--dtlns_alpha_co=0.2"] if source == "argument" else [],
    )
    assert config.settings.flat["alpha_structure"] == Schedule.constant(0.2)
    where = {"file": f"config file '{file}'", "dict": "config_dict", "argument": "the command line"}[source]
    assert f"{where}: dtlns_alpha_co is now called dtlns_alpha_structure" in caplog.text


def test_later_files_win(tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file, value in zip(files, (1, 2), strict=True):
        file.write_text(f"epochs: {value}\n")
    assert DTLNSConfig("BPR", "ml-100k", files)["epochs"] == 2


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("2024-10-11", "2024-10-11"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("1/0", "1/0"),
        ("[5,inf)", "[5,inf)"),
        ("a=b", "a=b"),
        ("true", True),
        ("1e-3", 0.001),
        ("[64,32]", [64, 32]),
        ("[price, size]", ["price", "size"]),
        ("null", None),
        ("{inter: [user_id], item: '*'}", {"inter": ["user_id"], "item": "*"}),
        ("{a: !!python/name:os.system }", "{a: !!python/name:os.system }"),
        ("None", None),
    ],
)
def test_values_are_read_and_never_evaluated(argument: str, value: Any) -> None:
    assert configure(f"--comment={argument}")["comment"] == value


@pytest.mark.parametrize("interval", ["[5,inf)", "[5,inf]", "[0,60]", "(0,60)"])
def test_an_interval_stays_as_it_is_written(interval: str) -> None:
    assert configure(f"--user_inter_num_interval={interval}")["user_inter_num_interval"] == interval


@pytest.mark.parametrize(
    ("argument", "value"),
    [("429", "429"), ("007", "007"), ("1e3", "1e3"), ("'429'", "429"), ("None", None), ("main", "main")],
)
def test_a_text_is_a_text_though_it_looks_like_a_number(argument: str, value: str | None) -> None:
    assert configure(f"--dtlns_text_revision={argument}")["dtlns_text_revision"] == value
    config = DTLNSConfig("BPR", "ml-100k", config_dict={"dtlns_text_revision": argument})
    assert config.settings.flat["text_revision"] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "3"], "cannot read the argument '--epochs'"),
        (["epochs=3"], "write --key=value"),
        (["--epochs=3", "--epochs=4"], "--epochs is given twice"),
    ],
)
def test_arguments_that_cannot_be_read(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(*arguments)


def test_arguments_of_the_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "--epochs=77", "--model=Pop"])
    config = configure()
    assert (config["epochs"], config["model"]) == (300, "BPR")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("a: [", "my.yaml', line 1, is not valid yaml"),
        ("- a\n- b\n", "no 'key: value'"),
        ("", "no 'key: value'"),
        ("epochs: 1\nseed: 3\nepochs: 2\n", "my.yaml', line 3, .*epochs is written twice"),
        ("eval_args: {order: RO, order: TO}", "line 1, .*order is written twice"),
        ("epochs: 1\n1: 2\n", "my.yaml'.*the key 1 is no name"),
        ("comment: !!python/name:os.system", "line 1, .*could not determine a constructor"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n},' * 9}]\n" for n in range(9)),
            "its aliases stand for",
        ),
        ("a: &a [*a]", "its aliases stand for"),
        ("[" * 5000, "nested too deeply"),
        ("day: 2020-13-45", "not valid yaml"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_config_files_that_cannot_be_read(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        DTLNSConfig("BPR", "ml-100k", [file])


@pytest.mark.parametrize("model", [MyBPR, f"{__name__}:MyBPR"])
def test_an_own_model_gets_the_defaults_of_the_one_it_extends(model: Any) -> None:
    config = DTLNSConfig(model, "ml-100k")
    assert config.model_class is MyBPR
    assert (config["model"], config["embedding_size"]) == ("MyBPR", 64)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("LihgtGCN", UnknownNameError, "unknown model 'LihgtGCN'. Did you mean 'LightGCN'"),
        ("lightgcn", UnknownNameError, "Did you mean 'LightGCN'"),
        ("no.such.module:Model", UnknownNameError, "cannot import the model"),
        ("SASrec", UnknownNameError, "Did you mean 'SASRec'"),
        ("LightGBM", UnsupportedModelError, "LightGBM cannot be trained here"),
        (None, ConfigError, "no model given"),
    ],
)
def test_models_that_cannot_be_trained(model: Any, error: type[DTLNSError], message: str) -> None:
    with pytest.raises(error, match=message):
        DTLNSConfig(model, "ml-100k")


def test_use_gpu_false_means_the_cpu() -> None:
    config = configure(use_gpu=False)
    assert config["device"].type == "cpu" and config["gpu_id"] == ""


def test_config_files_mean_what_they_mean_to_recbole(tmp_path: Path) -> None:
    """Its words for truth, its numbers, and merged mappings."""
    file = tmp_path / "my.yaml"
    file.write_text(
        "use_gpu: no\nlearning_rate: 1e-4\nfrom: &from {order: TO}\neval_args: {<<: *from, group_by: user}\n"
    )
    config = DTLNSConfig("BPR", "ml-100k", [file])
    assert (config["use_gpu"], config["learning_rate"], config["eval_args"]["order"]) == (False, 1e-4, "TO")


def test_the_config_of_a_run_runs_again(tmp_path: Path) -> None:
    given = {"dtlns_alpha_structure": 0.25, "dtlns_n_candidates": {0: 4, 3: 8}}
    settings = {"epochs": 1, "user_inter_num_interval": "[0,40]", "show_progress": False, **given}
    first = run_recbole_dtlns("BPR", "ml-100k", config_dict=settings)
    file = Path(first["run_folder"]) / "config.yaml"
    assert yaml.safe_load(file.read_text())["dtlns_alpha_structure"] == 0.25
    again = run_recbole_dtlns(config_file_list=[file])
    assert again["test_result"] == first["test_result"]
