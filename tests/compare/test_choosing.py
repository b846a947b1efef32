"""Settings that are left to validation: what is tried, what is chosen, and that test of the others is not looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from block_data import block_pairs, split_pairs, write_splits
from test_experiment import experiment
from test_results import result

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.reports.comparison import write_report
from recbole_dtlns.studies.compare import compare as compare_module
from recbole_dtlns.studies.compare.cell import run_cell
from recbole_dtlns.studies.compare.cell_result import read_result
from recbole_dtlns.studies.compare.choosing import settled
from recbole_dtlns.studies.compare.comparison import Choice, Comparison, OverSeeds, Tried
from recbole_dtlns.studies.compare.experiment import Cell, Experiment
from recbole_dtlns.studies.compare.results import Result
from recbole_dtlns.studies.compare.tables import choices_table

RATES = [0.1, 0.2, 0.3]
CHOOSING = {"plain": {"dtlns_preset": "off"}, "a": {"dtlns_preset": "off", "choose": {"learning_rate": RATES}}}


@pytest.fixture
def tiny() -> dict[str, Any]:
    return write_splits(Path("data"), "tiny", *split_pairs(*block_pairs()))


def planned(tiny: dict[str, Any], **keys: Any) -> Experiment:
    return experiment(tiny, **{"arms": CHOOSING, "references": [], **keys})


def test_what_is_tried_is_measured_on_validation_alone(tiny: dict[str, Any]) -> None:
    found = planned(tiny)
    assert [arm.name for arm in found.arms] == ["plain", "a"] and {cell.arm for cell in found.cells} == {"plain"}
    tried = [(trial.arm, trial.settings["learning_rate"], trial.cell.seed) for trial in found.trials]
    assert sorted(tried) == [("a", rate, seed) for rate in RATES for seed in (1, 2)]
    for trial in found.trials:
        assert (
            trial.cell.measured == "validation"
            and trial.cell.arm == f"a (learning_rate={trial.cell.keys['learning_rate']})"
        )
        assert trial.cell.keys["learning_rate"] == trial.settings["learning_rate"]


def test_a_sweep_chooses_at_each_of_its_points(tiny: dict[str, Any]) -> None:
    arms = {"a": {"dtlns_preset": "off", "sweep": {"embedding_size": [8, 16]}, "choose": {"learning_rate": RATES}}}
    found = planned(tiny, arms=arms, seeds=[1])
    sizes = [(trial.arm, trial.cell.keys["embedding_size"]) for trial in found.trials]
    assert sizes == [(f"a (embedding_size={size})", size) for size in (8, 16) for _ in RATES]
    done = settled(found, results(found, dict.fromkeys(RATES, 0.5)))
    assert [(cell.arm, cell.swept) for cell in done.cells] == [
        (f"a (embedding_size={size})", {"embedding_size": size}) for size in (8, 16)
    ]


def test_references_leave_their_strengths_to_validation(tiny: dict[str, Any]) -> None:
    """They are seen by it after their single pass, whatever the arms' eval_step; the others stay as they are."""
    grids = {"EASE": {"reg_weight": [1.0, 10.0]}, "ItemKNN": {"k": [5, 9], "shrink": [0.0, 2.0]}}
    beside = {"references": ["Pop", "EASE", "ItemKNN"], "choose": grids}
    found = planned(tiny, arms={"plain": {"dtlns_preset": "off"}}, **beside, settings={"eval_step": 5})
    assert [(arm.name, len(arm.among)) for arm in found.arms if arm.reference] == [
        ("Pop", 0),
        ("EASE", 2),
        ("ItemKNN", 4),
    ]
    ease = [trial.cell for trial in found.trials if trial.arm == "EASE"]
    assert [(cell.keys["reg_weight"], cell.keys["eval_step"], cell.seed) for cell in ease] == [
        (1.0, 1, 1),
        (10.0, 1, 1),
    ]
    assert all(trial.cell.reference and trial.cell.for_all_seeds for trial in found.trials)


def results(found: Experiment, levels: dict[float, float], without: tuple[float, int] | None = None) -> list[Result]:
    """Of all trials: what each learning rate comes to on validation, a hundredth more for the second seed."""
    made = []
    for trial in found.trials:
        rate, seed = trial.settings["learning_rate"], trial.cell.seed
        if (rate, seed) != without:
            named = replace(trial.cell, arm="plain")
            score = levels[rate] + 0.01 * seed
            made.append(replace(result(named, best_valid_score=score), cell=trial.cell))
    return made


@pytest.mark.parametrize(
    ("levels", "bigger", "expected"),
    [
        ([0.30, 0.50, 0.40], True, 0.2),
        ([0.30, 0.50, 0.40], False, 0.1),
        ([0.20, 0.30, 0.30], True, 0.2),
    ],
)
def test_the_best_on_validation_is_chosen_of_equal_ones_the_first(
    tiny: dict[str, Any], levels: list[float], bigger: bool, expected: float
) -> None:
    found = replace(planned(tiny), valid_metric_bigger=bigger)
    done = settled(found, results(found, dict(zip(RATES, levels, strict=True))))
    (choice,) = done.choices
    assert (choice.split, choice.arm, choice.settings) == ("given", "a", {"learning_rate": expected})
    assert sorted(one.settings["learning_rate"] for one in choice.tried) == RATES
    means = [one.valid.known for one in choice.tried]
    assert means == sorted(means, reverse=bigger)
    mine = [cell for cell in done.cells if cell.arm == "a"]
    assert [(cell.seed, cell.keys["learning_rate"], cell.measured) for cell in mine] == [
        (1, expected, "test"),
        (2, expected, "test"),
    ]
    assert {cell.swept for cell in mine} == {None} and len(done.cells) == len(found.cells) + 2


def test_each_split_chooses_for_itself(tiny: dict[str, Any]) -> None:
    found = planned(tiny, splits={"x": {}, "y": {"embedding_size": 8}}, seeds=[1])
    by_split = [
        replace(one, found=replace(one.found, best_valid_score=-float(one.found.best_valid_score or 0)))
        if one.cell.split == "y"
        else one
        for one in results(found, {0.1: 0.1, 0.2: 0.2, 0.3: 0.3})
    ]
    chosen = {choice.split: choice.settings["learning_rate"] for choice in settled(found, by_split).choices}
    assert chosen == {"x": 0.3, "y": 0.1}


def test_an_arm_of_which_a_trial_is_missing_gets_no_run(tiny: dict[str, Any]) -> None:
    found = planned(tiny)
    done = settled(found, results(found, dict.fromkeys(RATES, 0.5), without=(0.3, 2)))
    assert done.cells == found.cells and done.choices == ()


JUDGED = {"dtlns_judge": "calibrated", "dtlns_teachers": ["ItemKNN", "CoOccurrence"]}
BELIEVED = {"choose": {"dtlns_judge_members": ["all", "chosen"]}}
TAUGHT = {"choose": {"dtlns_teacher": ["BPR", "LightGCN"]}, "dtlns_judge": "always"}


@pytest.mark.parametrize(
    ("arms", "key", "expected"),
    [
        ({"a": {**JUDGED, **BELIEVED}}, "dtlns_judge_members", ["Council of a (judge_members={})"]),
        ({"a": TAUGHT}, "dtlns_teacher", ["{}"]),
    ],
)
@pytest.mark.parametrize("best", [0, 1])
def test_of_what_an_arm_learns_from_test_is_read_of_what_was_chosen(
    tiny: dict[str, Any], arms: dict[str, Any], key: str, expected: list[str], best: int
) -> None:
    """A judge, or a teacher, of settings that were tried and not chosen is not looked at either."""
    found = planned(tiny, arms=arms, references=["Council"], seeds=[1])
    assert found.cells == () and len(found.waiting) == 2
    made = [
        replace(result(replace(trial.cell, arm="plain"), best_valid_score=0.5 + place * (best - 0.5)), cell=trial.cell)
        for place, trial in enumerate(found.trials)
    ]
    done = settled(found, made)
    assert [cell.arm for cell in done.cells if cell.reference] == [
        name.format(found.trials[best].settings[key]) for name in expected
    ]
    assert [cell.arm for cell in settled(found, made[1:]).cells] == [], "what is missing might have been the best"


def test_what_another_arm_learns_from_too_waits_for_nothing(tiny: dict[str, Any]) -> None:
    arms = {"a": {**JUDGED, **BELIEVED}, "b": JUDGED}
    found = planned(tiny, arms=arms, references=["Council"], seeds=[1])
    assert [cell.arm for cell in found.cells if cell.reference] == ["Council of a (judge_members=all)"]
    assert [cell.arm for cell in found.waiting] == ["Council of a (judge_members=chosen)"]


def test_what_was_chosen_at_the_end_of_what_was_tried_says_so() -> None:
    def tried(**settings: Any) -> Tried:
        return Tried(settings, OverSeeds(0.5, None, [0.5]))

    choice = Choice("given", "x", [tried(k=9, way="a", bent=True, same=1), tried(k=5, way="b", bent=False, same=1)])
    assert choice.ends == {"k": "largest"}
    middle = Choice("given", "x", [tried(k=7), tried(k=5), tried(k=9)])
    assert middle.ends == {}
    head, cells = choices_table([choice, middle], "NDCG@10")
    assert head == ["arm", "settings", "NDCG@10 on validation", ""]
    assert [row[3] for row in cells] == ["chosen; k is the largest", "", "chosen", "", ""]
    assert cells[2][:3] == ["x", "k: 7", "0.5000"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"arms": {"x": {"choose": {"learning_rate": 0.1}}}}, "choose of the arm 'x' must give a list of values"),
        ({"arms": {"x": {"choose": {"learning_rate": []}}}}, "choose of the arm 'x' must give a list of values"),
        ({"arms": {"x": {"choose": {"learning_rat": [1]}}}}, "arm 'x .learning_rat=1.'.*'learning_rat'.*learning_rate"),
        (
            {"arms": {"x": {"choose": {"epochs": [1]}, "sweep": {"epochs": [2]}}}},
            "'x' sweeps 'epochs' and leaves it to validation: do one",
        ),
        ({"arms": {"x": {"choose": {"seed": [1, 2]}}}}, "'x .seed=1.' sets 'seed', which belongs to the comparison"),
        (
            {"arms": {"x": {"epochs": 3, "choose": {"eval_step": [5]}}}},
            "arm 'x .eval_step=5.': validation chooses its settings, and never looks at it.*from 1 to its 3 epochs",
        ),
        (
            {"arms": {"x": {"dtlns_protocol": "authors", "choose": {"learning_rate": [0.1]}}}},
            "'x .learning_rate=0.1.': it leaks, so validation cannot choose its settings",
        ),
        (
            {"arms": {"x (epochs=2)": None, "x": {"choose": {"epochs": [2]}}}},
            "'x .epochs=2.' is there twice among the arms",
        ),
        ({"references": ["EASE"], "choose": {"EASE": {"reg": [1]}}}, "EASE has no key 'reg': it has reg_weight"),
        ({"references": ["Council"], "choose": {"Council": {"k": [1]}}}, "Council has no key 'k': it has none"),
        ({"choose": {"EASE": {"reg_weight": [1]}}}, "choose names 'EASE', which is not among the references"),
        ({"choose": {"EASY": {"reg_weight": [1]}}}, "choose.EASY"),
        ({"choose": {"EASE": {"reg_weight": []}}}, "choose.EASE.reg_weight: list should have at least 1 item"),
    ],
)
def test_what_cannot_be_left_to_validation_is_refused(tiny: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(tiny, **keys)


@pytest.fixture
def cells_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which is quicker than one for each."""

    def run(processes: object, cell: Cell, folder: Path) -> tuple[float, str]:
        run_cell(cell, folder)
        return 0.0, ""

    monkeypatch.setattr(compare_module._Processes, "run", run)


@pytest.mark.usefixtures("cells_run_here")
def test_the_chosen_settings_stand_in_the_table(tiny: dict[str, Any]) -> None:
    """EASE alone, whose strength is left to validation. Started again, nothing is tried again."""
    content = {
        "dataset": "tiny",
        "seeds": [1],
        "settings": {**tiny, "metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10"},
        "arms": {"EASE": {"model": "EASE", "dtlns_preset": "off", "choose": {"reg_weight": [1.0, 100000.0]}}},
        "references": [],
    }
    Path("strength.yaml").write_text(yaml.safe_dump(content))
    said: list[str] = []
    found = compare_module.compare("strength.yaml", output="out", jobs=1, say=said.append)
    (row,), (choice,) = found.rows, found.choices or ()
    assert row.arm == "EASE" and row.measured == "test" and row.settings["reg_weight"] == choice.settings["reg_weight"]
    assert row.valid.known == choice.tried[0].valid.known > choice.tried[1].valid.known
    tried = {folder: read_result(folder.parent) for folder in found.folder.glob("cells/*/result.json")}
    assert sorted(one.measured for one in tried.values()) == ["test", "validation", "validation"]
    assert set(pd.read_parquet(found.folder / "per_user.parquet")["arm"]) == {"EASE"}
    text = (found.folder / "comparison.md").read_text()
    assert "### What validation chose among" in text and "chosen; reg_weight is" in text
    assert Comparison.read(found.folder) == found
    assert "What validation chose among" in write_report([found.folder]).read_text()

    assert [line.split(";")[0] for line in said if "done before" in line] == [
        "strength, for validation to choose settings: 2 runs, 0 of them done before",
        "strength: 1 runs, 0 of them done before",
    ]
    said.clear()
    again = compare_module.compare("strength.yaml", output="out", jobs=1, say=said.append)
    assert again == found
    assert [line.split(";")[0].split(": ")[1] for line in said] == [
        "2 runs, 2 of them done before",
        "1 runs, 1 of them done before",
    ]
