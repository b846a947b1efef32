"""What an experiment file means, and that a wrong one stops before any work, saying where and what to do."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from block_data import block_pairs, split_pairs, write_splits

from recbole_dtlns.bridge import presets
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.training import trainer
from recbole_dtlns.conformance.blocks import block_texts
from recbole_dtlns.errors import ConfigError, DTLNSError
from recbole_dtlns.preparation.growing import StructureVectors
from recbole_dtlns.preparation.relabelling import Relabelled
from recbole_dtlns.settings.presets import preset_file
from recbole_dtlns.studies.compare import experiment as experiment_module
from recbole_dtlns.studies.compare.cell import run_cell
from recbole_dtlns.studies.compare.experiment import Experiment
from recbole_dtlns.studies.compare.experiment_file import read_experiment, shipped_experiments
from recbole_dtlns.trees import build

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"


@pytest.fixture
def tiny() -> dict[str, Any]:
    return write_splits(Path("data"), "tiny", *split_pairs(*block_pairs()))


def experiment(tiny: dict[str, Any], arguments: tuple[str, ...] = (), **keys: Any) -> Experiment:
    content = {"model": "BPR", "dataset": "tiny", "seeds": [1, 2], "arms": {"plain": {"dtlns_preset": "off"}}, **keys}
    content["settings"] = {**tiny, "metrics": ["Recall", "NDCG"], "valid_metric": "NDCG@10", **keys.get("settings", {})}
    Path("mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return read_experiment("mine.yaml", arguments=arguments)


def test_every_arm_split_and_seed_is_a_run(tiny: dict[str, Any]) -> None:
    found = experiment(tiny, arms={"a": None, "b": {"model": "LightGCN"}}, splits={"x": {}, "y": {"epochs": 7}})
    runs = {(cell.arm, cell.split, cell.seed) for cell in found.cells if not cell.reference}
    assert runs == {(arm, split, seed) for arm in "ab" for split in "xy" for seed in (1, 2)}
    assert {cell.model for cell in found.cells if cell.arm == "b"} == {"LightGCN"}
    assert found.baseline == "a"


def test_references_stand_beside_and_run_once_where_a_seed_changes_nothing(tiny: dict[str, Any]) -> None:
    cells = experiment(tiny).cells
    assert [(cell.arm, cell.seed) for cell in cells if cell.reference] == [("Pop", 1), ("ItemKNN", 1), ("EASE", 1)]
    # A random split needs one file of all pairs, which is not there; nothing is loaded before the first run.
    args = {"split": {"RS": [8, 1, 1]}, "order": "RO", "mode": "full"}
    found = experiment(tiny, splits={"x": {"benchmark_filename": None, "eval_args": args}})
    assert sum(cell.reference for cell in found.cells) == 6


def seeds_of(found: Experiment, arm: str) -> list[tuple[int, int]]:
    """Of run and preparation, for every run of an arm."""
    configs = [cell.config() for cell in found.cells if cell.arm == arm]
    return [(config["seed"], config.settings.seed) for config in configs]


def test_a_seed_drives_run_and_preparation_unless_one_is_held(tiny: dict[str, Any]) -> None:
    arms = {"a": {"dtlns_preset": "clean"}}
    mask = {"dtlns_judge": "always"}
    both = experiment(tiny, arms=arms, authors_mask=mask)
    assert seeds_of(both, "a") == [(1, 1), (2, 2)]
    assert [cell.authors_mask["dtlns_seed"] for cell in both.cells if cell.arm == "a"] == [1, 2]  # type: ignore[index]
    run = experiment(tiny, arms=arms, vary=["run"], settings={"dtlns_seed": 7})
    assert seeds_of(run, "a") == [(1, 7), (2, 7)]
    preparation = experiment(tiny, arms=arms, vary=["preparation"], settings={"seed": 7})
    assert seeds_of(preparation, "a") == [(7, 1), (7, 2)]
    assert len({cell.digest for cell in (*both.cells, *run.cells, *preparation.cells) if cell.arm == "a"}) == 6


def test_a_run_that_no_varied_seed_reaches_stands_for_all_seeds(tiny: dict[str, Any]) -> None:
    def runs(arm: str, **keys: Any) -> int:
        found = [cell for cell in experiment(tiny, **keys).cells if cell.arm == arm]
        assert all(cell.for_all_seeds == (len(found) == 1) for cell in found)
        return len(found)

    hidden = {"settings": {"dtlns_hide_train": 0.2}}
    assert runs("EASE") == 1
    assert runs("EASE", **hidden) == 2, "other seeds hide other pairs, from it too"
    assert runs("EASE", **hidden, vary=["run"]) == 1
    assert runs("EASE", authors_mask={"dtlns_judge": "structural"}) == 2, "other seeds mask other pairs"
    assert runs("plain", vary=["preparation"]) == 1, "nothing is prepared"
    assert runs("plain", vary=["preparation"], **hidden) == 2


def test_references_have_the_settings_of_the_teachers(tiny: dict[str, Any]) -> None:
    cells = experiment(tiny, settings={"dtlns_teacher_ease_reg": 7.0, "dtlns_sampler": "dns"}).cells
    ease = next(cell for cell in cells if cell.arm == "EASE")
    assert ease.keys["reg_weight"] == 7.0
    assert not ease.config().settings.active


def test_a_trained_teacher_stands_beside_its_arm(tiny: dict[str, Any]) -> None:
    """With the epochs that it has as a teacher, chosen by nobody; it is no teacher where nothing is prepared."""
    taught = {"dtlns_teacher": "LightGCN", "dtlns_teacher_epochs": 3}
    found = experiment(tiny, arms={"x": taught, "y": taught, "z": {"dtlns_preset": "off", "dtlns_teacher": "NeuMF"}})
    assert [arm.name for arm in found.arms if arm.reference] == ["Pop", "ItemKNN", "EASE", "LightGCN"]
    cells = [cell for cell in found.cells if cell.arm == "LightGCN"]
    assert [(cell.seed, cell.keys["epochs"], cell.keys["eval_step"]) for cell in cells] == [(1, 3, 0), (2, 3, 0)]


def test_the_order_of_settings_is_shared_split_arm(tiny: dict[str, Any]) -> None:
    found = experiment(
        tiny,
        ("--learning_rate=0.5", "--epochs=9"),
        settings={"learning_rate": 0.1, "embedding_size": 8, "epochs": 1},
        splits={"x": {"embedding_size": 16, "epochs": 2}},
        arms={"a": {"embedding_size": 32}},
    )
    keys = found.cells[0].keys
    assert (keys["learning_rate"], keys["embedding_size"], keys["epochs"], keys["seed"]) == (0.5, 32, 2, 1)


def test_a_sweep_makes_an_arm_of_every_combination(tiny: dict[str, Any]) -> None:
    sweep = {"dtlns_alpha_structure": [0, 0.5], "dtlns_alpha_semantic": [0.1]}
    found = experiment(tiny, arms={"x": {"sweep": sweep}})
    assert [arm.name for arm in found.arms if not arm.reference] == [
        "x (alpha_structure=0, alpha_semantic=0.1)",
        "x (alpha_structure=0.5, alpha_semantic=0.1)",
    ]
    assert found.cells[1].swept == {"dtlns_alpha_structure": 0.5, "dtlns_alpha_semantic": 0.1}


def test_a_run_is_known_by_its_settings_and_data(tiny: dict[str, Any]) -> None:
    before = {cell.arm: cell.digest for cell in experiment(tiny, arms={"a": None, "b": {"epochs": 5}}).cells}
    changed = {cell.arm: cell.digest for cell in experiment(tiny, arms={"a": None, "b": {"epochs": 6}}).cells}
    assert before["a"] == changed["a"]
    assert before["b"] != changed["b"]


def digests(tiny: dict[str, Any], arms: dict[str, Any], **keys: Any) -> dict[str, str]:
    return {cell.arm: cell.digest for cell in experiment(tiny, arms=arms, seeds=[1], references=[], **keys).cells}


def test_a_run_under_an_earlier_preset_is_another_run(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arms = {"a": {"dtlns_preset": "best"}, "b": {"dtlns_preset": "off"}}
    before = digests(tiny, arms)
    shipped = preset_file("best").read_text()
    earlier = tmp_path / "best.yaml"
    earlier.write_text(f"# a remark\n{shipped}")
    monkeypatch.setattr(presets, "preset_file", lambda name: earlier if name == "best" else preset_file(name))
    assert digests(tiny, arms) == before
    earlier.write_text(f"{shipped}dtlns_dns_top: 4\n")
    changed = digests(tiny, arms)
    assert changed["a"] != before["a"] and changed["b"] == before["b"]


@pytest.mark.parametrize(("key", "value"), [("dtlns_dns_top", 4), ("clip_grad_norm", {"max_norm": 5})])
def test_a_run_under_earlier_defaults_is_another_run(
    key: str, value: Any, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this package and of RecBole; where the arm sets the key itself, the default changes nothing."""
    arms = {"a": None, "b": {key: value}}
    before = digests(tiny, arms)
    load = DTLNSConfig._load_internal_config_dict

    def earlier(config: DTLNSConfig, *given: Any) -> None:
        load(config, *given)
        config.internal_config_dict[key] = value

    monkeypatch.setattr(DTLNSConfig, "_load_internal_config_dict", earlier)
    changed = digests(tiny, arms)
    assert changed["a"] != before["a"] and changed["b"] == before["b"]


@pytest.mark.parametrize(
    ("owner", "name"), [(StructureVectors, "version"), (build, "VERSION"), (Relabelled, "version")]
)
def test_a_run_with_an_earlier_stage_is_another_run_where_it_prepares(
    owner: Any, name: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {"a": None, "b": {"dtlns_preset": "off"}}
    before = digests(tiny, arms)
    monkeypatch.setattr(owner, name, 0)
    changed = digests(tiny, arms)
    assert changed["a"] != before["a"] and changed["b"] == before["b"]


def test_a_run_under_a_mask_of_an_earlier_stage_is_another_run(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run itself prepares nothing."""
    arms = {"plain": {"dtlns_preset": "off"}}
    before = [digests(tiny, arms, authors_mask={"dtlns_judge": "always"}), digests(tiny, arms)]
    monkeypatch.setattr(StructureVectors, "version", 0)
    changed = [digests(tiny, arms, authors_mask={"dtlns_judge": "always"}), digests(tiny, arms)]
    assert changed[0] != before[0] and changed[1] == before[1]


@pytest.mark.parametrize(("module", "name"), [(trainer, "VERSION"), (experiment_module, "__version__")])
def test_a_run_of_an_earlier_version_is_another_run(
    module: ModuleType, name: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(tiny, {"a": {"dtlns_preset": "off"}})
    monkeypatch.setattr(module, name, 0)
    assert digests(tiny, {"a": {"dtlns_preset": "off"}}) != before


NAMED = {
    "in a list": {"dtlns_teacher": "BPR", "dtlns_teacher_config_files": ["named"]},
    "labels": {"dtlns_judge": "recorded", "dtlns_judge_labels": "named"},
    "candidates": {"dtlns_candidates_file": "named"},
    "paths": {"dtlns_structure_paths": "named"},
    "checkpoint": {"dtlns_teacher": "checkpoint", "dtlns_teacher_checkpoint": "named"},
    "pool": {"dtlns_pool": "file", "dtlns_pool_file": "named"},
}


@pytest.mark.parametrize("kind", NAMED)
def test_a_run_is_known_by_the_content_of_the_files_that_it_names(kind: str, tiny: dict[str, Any]) -> None:
    """Not by their names: what lies elsewhere is the same."""
    named = Path("named.yaml").resolve()
    keys = {
        key: [str(named)] if value == ["named"] else str(named) if value == "named" else value
        for key, value in NAMED[kind].items()
    }
    named.write_text("learning_rate: 0.01\n")
    before = digests(tiny, {"a": keys, "b": None})
    moved = named.rename("moved.yaml").resolve()
    there = json.loads(json.dumps(keys).replace(str(named), str(moved)))
    assert digests(tiny, {"a": there, "b": None}) == before
    moved.write_text("learning_rate: 0.02\n")
    changed = digests(tiny, {"a": there, "b": None})
    assert changed["a"] != before["a"] and changed["b"] == before["b"]


def test_data_that_changed_make_another_run(tiny: dict[str, Any]) -> None:
    before = digests(tiny, {"a": None})
    parts = [Path("data/tiny") / f"tiny.{part}.inter" for part in ("valid", "test")]
    texts = [part.read_text() for part in parts]
    for part, text in zip(parts, reversed(texts), strict=True):
        part.write_text(text)
    assert digests(tiny, {"a": None}) != before, "the same files under each other's names"


def test_what_changes_no_result_makes_no_other_run(tiny: dict[str, Any]) -> None:
    arms = {"a": None, "b": {"dtlns_judge": "openai", "dtlns_judge_model": "some-model"}}
    before = digests(tiny, arms)
    shutil.move("data", "elsewhere")
    moved = {**tiny, "data_path": "elsewhere"}
    incidental = {"show_progress": False, "state": "WARNING", "dtlns_cache_dir": "other", "dtlns_refuse_damaged": True}
    asking = {"dtlns_judge_concurrency": 2, "dtlns_judge_timeout_seconds": 7, "dtlns_judge_api_key_env": "SOME_KEY"}
    assert digests(moved, arms, settings={**incidental, **asking, "data_path": "elsewhere"}) == before


def test_relative_paths_are_those_of_where_the_comparison_starts(tiny: dict[str, Any]) -> None:
    keys = experiment(tiny).cells[0].keys
    assert Path(keys["data_path"]).is_absolute()
    assert Path(keys["dtlns_cache_dir"]).is_absolute()


@pytest.mark.parametrize(
    ("judge", "model", "whole"),
    [
        ({"dtlns_judge": "transformers"}, "models/llama", True),
        ({"dtlns_judge": "distilled", "dtlns_judge_llm": "vllm"}, "models/llama", True),
        ({"dtlns_judge": "ray"}, "models/llama", True),
        ({"dtlns_judge": "transformers"}, "org/model", False),
        ({"dtlns_judge": "openai"}, "models/llama", False),
        ({"dtlns_judge": "distilled", "dtlns_judge_llm": "openai"}, "models/llama", False),
        ({"dtlns_judge": "ray", "dtlns_judge_ray_urls": ["http://localhost:1/v1"]}, "models/llama", False),
    ],
)
def test_a_judges_folders_are_those_of_where_the_comparison_starts(
    tiny: dict[str, Any], judge: dict[str, Any], model: str, whole: bool
) -> None:
    """Prompt file, model and tokenizer are found in a cell's folder too; a name stays, also beside such a folder."""
    Path("models/llama").mkdir(parents=True)
    Path("mine.prompt").write_text((files("recbole_dtlns.properties") / "prompts" / "pair.yaml").read_text())
    keys = {**judge, "dtlns_judge_model": model, "dtlns_judge_tokenizer": "models/llama"}
    arms = {
        "file": {**keys, "dtlns_judge_prompt": "mine.prompt"},
        "name": {**keys, "dtlns_judge_prompt": "user", "dtlns_judge_tokenizer": "org/other"},
    }
    by_arm = {cell.arm: cell.keys for cell in experiment(tiny, arms=arms).cells}
    assert by_arm["file"]["dtlns_judge_model"] == (str(Path(model).resolve()) if whole else model)
    assert by_arm["file"]["dtlns_judge_tokenizer"] == str(Path("models/llama").resolve())
    assert by_arm["file"]["dtlns_judge_prompt"] == str(Path("mine.prompt").resolve())
    assert by_arm["name"]["dtlns_judge_tokenizer"] == "org/other"
    assert by_arm["name"]["dtlns_judge_prompt"] == "user"


def test_off_without_quotes_is_a_name(tiny: dict[str, Any]) -> None:
    """YAML 1.1 reads it as False."""
    experiment(tiny)
    text = Path("mine.yaml").read_text().replace("plain:", "off:").replace("'off'", "off")
    Path("mine.yaml").write_text(text)
    found = read_experiment("mine.yaml")
    assert found.arms[0].name == "off"
    assert found.cells[0].config().settings.preset == "off"
    assert found.cells[0].config()["metrics"] == ["Recall", "NDCG"]


def test_an_arm_that_is_written_twice_is_refused(tiny: dict[str, Any]) -> None:
    experiment(tiny)
    Path("mine.yaml").write_text(Path("mine.yaml").read_text().replace("arms:", "arms:\n  plain: {}"))
    with pytest.raises(ConfigError, match=r"mine\.yaml.*plain is written twice"):
        read_experiment("mine.yaml")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"arm": {}}, "unknown key 'arm'.*Did you mean 'arms'"),
        ({"arms": {}}, "arms: dictionary should have at least 1 item"),
        ({"arms": {"x": {"dtlns_sampler": "dnz"}}}, "unknown sampler 'dnz'.*dns"),
        ({"arms": {"x": {"learning_rat": 1}}}, "arm 'x'.*'learning_rat'.*learning_rate"),
        ({"arms": {"x": {"model": "LightGNC"}}}, "LightGNC.*Did you mean 'LightGCN'"),
        ({"arms": {"x": {"model": "EASE", "dtlns_sampler": "dns"}}}, "EASE takes neither"),
        ({"baseline": "plian"}, "'plian' is no arm.*Did you mean 'plain'"),
        ({"splits": ["randm"]}, "unknown split 'randm'.*Did you mean 'random'"),
        ({"settings": {"seed": 3}}, "'seed' belongs to the comparison.*vary: .preparation."),
        ({"settings": {"dtlns_seed": 3}}, "'dtlns_seed' belongs to the comparison.*vary: .run."),
        ({"splits": {"x": {"dtlns_seed": 3}}}, "'x' sets 'dtlns_seed', which belongs to the comparison"),
        ({"arms": {"x": {"sweep": {"dtlns_seed": [3, 4]}}}}, "'x .seed=3.' sets 'dtlns_seed'"),
        ({"vary": ["preparation"], "arms": {"x": {"dtlns_seed": 3}}}, "'x' sets 'dtlns_seed'"),
        ({"arms": {"x": {"topk": [5]}}}, "'x' sets 'topk'.*settings, for all arms"),
        ({"seeds": [1, 2, 1]}, "'1' is there twice among the seeds"),
        ({"references": ["Pop", "Pop"]}, "'Pop.*' is there twice among the"),
        (
            {"arms": {"x (alpha_structure=1)": None, "x": {"sweep": {"dtlns_alpha_structure": [1]}}}},
            r"'x \(alpha_structure=1\)' is there twice among the arms",
        ),
        ({"arms": {"x": {"sweep": {"dtlns_alpha_structure": 5}}}}, "sweep of the arm 'x' must give a list"),
        ({"arms": {"x": {"sweep": 5}}}, "sweep of the arm 'x' must give a list"),
        ({"arms": {"x": {"model": 5}}}, "model of the arm 'x' must be a name, not 5"),
        ({"splits": {"late": {"metrics": ["NDCG"]}}}, "'late' sets 'metrics'.*settings, for all arms"),
        ({"vary": []}, "vary"),
        ({"vary": ["trees"]}, "vary.0.*'run' or 'preparation'"),
        ({"margin": {"recal@10": 0.1}}, "'recal@10' is not measured.*Did you mean 'recall@10'"),
        ({"margin": {"recall@10": -1}}, "margin.recall@10.*greater than -1"),
        ({"margin": {"recall@10": 0.1}, "test": "wilcoxon"}, "compares ranks"),
        ({"against": {"plian": ["EASE"]}}, "'plian', which is no arm.*Did you mean 'plain'"),
        ({"against": {"EASE": ["plain"]}}, "'EASE' and 'plain' are tested already"),
        ({"against": {"EASE": ["Pop"], "Pop": ["EASE"]}}, "'Pop' and 'EASE' are tested already"),
        ({"against": {"EASE": ["EASE"]}}, "are one arm"),
        ({"arms": {"a": None, "x": {"dtlns_protocol": "authors"}}, "against": {"x": ["EASE"]}}, "'x', which leaks"),
        ({"test_best": -1}, "test_best"),
        ({"test_best": 1, "authors_mask": {"dtlns_judge": "always"}}, "authors_mask looks at test pairs"),
        ({"settings": {"metrics": ["GAUC"]}}, "at least one of the metrics recall, ndcg"),
        ({"settings": {"eval_args": {"mode": "uni100"}}}, "ranks all items"),
        ({"settings": {"metrics": ["Recall"], "valid_metric": "NDCG@10"}}, "valid_metric is NDCG@10, which metrics"),
        ({"references": ["Popp"]}, "references.0"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_mistakes_are_named(tiny: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DTLNSError, match=re.compile(message, re.DOTALL)):
        experiment(tiny, **keys)


def test_a_missing_file_and_an_unknown_name_are_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"no experiment file there\.yaml"):
        read_experiment("there.yaml")
    with pytest.raises(DTLNSError, match=r"unknown experiment 'tree'.*Did you mean 'trees'"):
        read_experiment("tree", dataset="ml-100k")
    with pytest.raises(ConfigError, match="names no dataset"):
        read_experiment("trees")


@pytest.mark.parametrize("name", shipped_experiments())
def test_shipped_experiments_run_on_any_data(name: str) -> None:
    found = read_experiment(name, dataset="ml-100k")
    assert found.about
    assert len({cell.digest for cell in found.cells}) == len(found.cells), "two arms are the same"
    assert {"Pop", "ItemKNN", "EASE"} < {arm.name for arm in found.arms}


@pytest.mark.parametrize("path", sorted(EVIDENCE.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_of_the_evidence_can_be_made_again(path: Path) -> None:
    """Their keys are known, and the arms that they compare are there; what is to choose among shows no test."""
    found = read_experiment(path)
    assert found.cells
    assert ("to choose among" in found.about) <= (found.test_best == 0)


def write_films() -> None:
    """What ml-100k says of its items, for the block data."""
    tokens = np.unique(block_pairs()[1])
    rows = (f"{token}\t{text}\tDrama" for token, text in zip(tokens.tolist(), block_texts(tokens), strict=True))
    head = "item_id:token\tmovie_title:token_seq\tclass:token_seq"
    Path("data", "tiny", "tiny.item").write_text("\n".join([head, *rows]) + "\n")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", shipped_experiments())
def test_every_arm_of_a_shipped_experiment_trains(name: str, tiny: dict[str, Any]) -> None:
    """One epoch of each, in this process; a mistake in a file would show only here."""
    quick = {**tiny, "train_batch_size": 512}
    write_films()
    found = read_experiment(name, dataset="tiny", arguments=[f"--{key}={value}" for key, value in quick.items()])
    for number, cell in enumerate(cell for cell in found.cells if cell.seed == found.seeds[0]):
        folder = Path(f"run-{number}").resolve()
        folder.mkdir()
        keys = {**cell.keys, "benchmark_filename": ["train", "valid", "test"], "epochs": 1}
        run_cell(replace(cell, keys=keys, grown_from=None), folder)  # these data have no times; test_grown.py's have
        assert (folder / "result.json").exists()


def test_a_learnt_judge_stands_beside_the_arms_that_it_teaches(tiny: dict[str, Any]) -> None:
    """Once for those that are taught alike, with the arm's preparation and the comparison's seeds."""
    learnt = {"dtlns_judge": "calibrated", "dtlns_candidates": 30}
    arms = {"x": learnt, "y": {**learnt, "dtlns_relabel_top": 3}, "z": {"dtlns_judge": "structural"}}
    found = experiment(tiny, arms=arms, references=["Council"])
    assert [arm.name for arm in found.arms if arm.reference] == ["Council"]
    cells = [cell for cell in found.cells if cell.reference]
    assert [(cell.seed, cell.config().settings.seed) for cell in cells] == [(1, 1), (2, 2)]
    assert all(cell.config().prepares and cell.config().settings.flat["candidates"] == 30 for cell in cells)
    other = {**learnt, "dtlns_judge_hide": 0.2}
    both = experiment(tiny, arms={"x": learnt, "w": other}, references=["Council"])
    assert [arm.name for arm in both.arms if arm.reference] == ["Council of x", "Council of w"]
    assert not [arm for arm in experiment(tiny, arms=arms, references=[]).arms if arm.reference]
