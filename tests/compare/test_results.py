"""What a comparison makes of its runs: means over all seeds, tests of all that was asked, warnings. None is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from block_data import block_pairs, split_pairs, write_splits
from test_experiment import experiment

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.evaluation.rankings import Spread
from recbole_dtlns.evaluation.significance import flips_for, holm, margin_test, paired_test
from recbole_dtlns.reports.comparison import write_report
from recbole_dtlns.storage.sealed_json import sealed
from recbole_dtlns.studies.compare.cell_result import CellResult, ItemGroup, Seconds
from recbole_dtlns.studies.compare.comparison import Chosen, Comparison, Row, TestCount
from recbole_dtlns.studies.compare.experiment import Cell, Experiment
from recbole_dtlns.studies.compare.results import Result, chosen_on_validation, summarised
from recbole_dtlns.studies.compare.tables import markdown
from recbole_dtlns.training.checkpoint import Epoch

USERS = 400
ARMS = {"plain": {"dtlns_preset": "off"}, "a": {"learning_rate": 0.1}, "b": {"learning_rate": 0.2}}
# Mean of the metric by arm; every seed adds a hundredth.
LEVELS = {"plain": 0.30, "a": 0.40, "b": 0.31, "Pop": 0.20, "EASE": 0.36}


@pytest.fixture
def tiny() -> dict[str, Any]:
    return write_splits(Path("data"), "tiny", *split_pairs(*block_pairs()))


def planned(tiny: dict[str, Any], **keys: Any) -> Experiment:
    settings = {"metrics": ["Recall"], "topk": [10], "valid_metric": "Recall@10", **keys.pop("settings", {})}
    return experiment(tiny, **{"arms": ARMS, "references": ["Pop", "EASE"], "settings": settings, **keys})


def by_user(cell: Cell) -> np.ndarray:
    """The same users are hard for all arms; each run has noise of its own."""
    random = np.random.default_rng([cell.seed, *cell.arm.encode()])
    hard = np.random.default_rng(0).normal(0, 0.1, USERS)
    return LEVELS[cell.arm] + 0.01 * cell.seed + hard + random.normal(0, 0.05, USERS)


def result(cell: Cell, **content: Any) -> Result:
    values = by_user(cell)
    users = pd.DataFrame({"recall@10": values, "history": 5}, index=[f"u{user}" for user in range(USERS)])
    made = CellResult(
        arm=cell.arm,
        split=cell.split,
        seed=cell.seed,
        digest="0",
        leaking=False,
        valid_metric="Recall@10",
        best_valid_score=LEVELS[cell.arm],
        valid={},
        measured=cell.measured,
        metrics={"recall@10": float(values.mean())},
        recovered=None,
        spread=Spread(coverage=0.5, gini=0.5, popularity=9.0),
        item_groups=[ItemGroup(least=1, most=9, pairs=7, found=0.5)],
        curve=[],
        best_epoch=3,
        undertrained=False,
        seconds_per_epoch=1.0,
        seconds=Seconds(preparation=1.0, training=1.0),
    )
    return Result(cell, Path.cwd(), replace(made, **content), users)


def found(plan: Experiment, change: Callable[[Cell], dict[str, Any]] = lambda _: {}) -> Comparison:
    return summarised(plan, [result(cell, **change(cell)) for cell in plan.cells], Path.cwd())


def row(content: Comparison, arm: str) -> Row:
    return next(row for row in content.rows if row.arm == arm)


def over_seeds(plan: Experiment, arm: str) -> np.ndarray:
    return np.mean([by_user(cell) for cell in plan.cells if cell.arm == arm], axis=0)


def test_figures_are_means_over_all_seeds(tiny: dict[str, Any]) -> None:
    plan = planned(tiny, seeds=[1, 2, 6])
    values = row(found(plan), "a").metrics["recall@10"]
    each = [by_user(cell).mean() for cell in plan.cells if cell.arm == "a"]
    assert values.by_seed == pytest.approx(each)
    assert values.mean == pytest.approx(np.mean(each))
    assert values.sd == pytest.approx(np.std(each, ddof=1))
    assert np.ptp(each) > 0.03


def test_users_are_tested_with_their_means_over_all_seeds(tiny: dict[str, Any]) -> None:
    """Also against a run that stands for all seeds."""
    plan = planned(tiny, seeds=[1, 2, 6])
    content = found(plan)
    tests = {arm: row(content, arm).tests["recall@10"] for arm in ("a", "EASE")}
    for arm, written in tests.items():
        expected = paired_test(over_seeds(plan, arm), over_seeds(plan, "plain"))
        assert written.difference == pytest.approx(expected.difference)
        assert (written.wins, written.losses) == (expected.wins, expected.losses)
        assert written.relative == pytest.approx(expected.difference / over_seeds(plan, "plain").mean())
    assert row(content, "a").user_groups[0].metrics["recall@10"] == pytest.approx(over_seeds(plan, "a").mean())


def test_margins_and_named_pairs_are_tested_and_corrected_with_all_others(tiny: dict[str, Any]) -> None:
    plan = planned(tiny, margin={"Recall@10": 0.2}, against={"a": ["EASE", "b"]})
    content = found(plan)
    assert [(pair.arm, pair.against) for pair in content.pairs] == [("a", "EASE"), ("a", "b")]
    assert row(content, "a").margins["recall@10"].p_holm < 0.01
    assert row(content, "b").margins["recall@10"].p_holm == 1
    assert not row(content, "EASE").margins, "a reference is no arm that anything is claimed of"
    assert not row(content, "plain").tests
    made = [test for line in (*content.rows, *content.pairs) for test in line.tests.values()]
    made += [test for line in content.rows for test in line.margins.values()]
    assert len(made) == content.experiment.tests["given"].tests == 8  # 4 with the baseline, 2 margins, 2 pairs
    assert [test.p_holm for test in made] == pytest.approx(holm([test.p for test in made]))
    first, second = over_seeds(plan, "a"), over_seeds(plan, "EASE")
    pair = content.pairs[0].tests["recall@10"]
    assert pair.difference == pytest.approx((first - second).mean())
    expected = margin_test(first, over_seeds(plan, "plain"), 0.2, flips=flips_for(8))
    assert row(content, "a").margins["recall@10"].low == pytest.approx(expected.low, rel=0.02)
    text = markdown(content)
    assert "By more than a margin?" in text and "Named pairs" in text
    written = row(content, "a").margins["recall@10"]
    assert f"{written.low:+.2%} to {written.high:+.2%}" in text


def test_clear_differences_keep_their_stars_in_a_table_of_many_tests(tiny: dict[str, Any]) -> None:
    """With 9,999 flips and Holm's correction no two stars are possible beyond a hundred tests."""
    metrics = {"metrics": ["Recall", "NDCG", "Hit", "MRR", "Precision"], "topk": list(range(1, 12))}
    plan = planned(tiny, seeds=[1], settings={**metrics, "valid_metric": "Recall@10"}, references=[])
    names = [f"{metric}@{k}" for metric in plan.metrics for k in plan.topk]

    def many(cell: Cell) -> Result:
        one = result(cell)
        users = pd.DataFrame({**dict.fromkeys(names, one.users["recall@10"][:80]), "history": 5})
        means = dict.fromkeys(names, one.found.metrics["recall@10"])
        return Result(cell, one.folder, replace(one.found, metrics=means), users)

    content = summarised(plan, [many(cell) for cell in plan.cells], Path.cwd())
    made = content.experiment.tests["given"]
    assert made == TestCount(tests=110, flips=flips_for(110))
    assert all(test.p_holm < 0.01 for test in row(content, "a").tests.values())
    assert f"{made.flips:,} sign flips" in markdown(content)


def test_a_leaking_arm_is_tested_with_nothing(tiny: dict[str, Any]) -> None:
    content = found(planned(tiny, margin={"recall@10": 0.1}), lambda cell: {"leaking": cell.arm == "a"})
    assert row(content, "a").tests == row(content, "a").margins == {}
    assert row(content, "b").tests


def test_the_head_says_what_the_seeds_drove(tiny: dict[str, Any]) -> None:
    heads = {
        "": "seeds 1, 2, of run and preparation;",
        "run": "seeds 1, 2, of the run; the preparation's is the same in all;",
        "preparation": "seeds 1, 2, of the preparation; the run's is the same in all;",
    }
    for what, expected in heads.items():
        vary = {"vary": [what]} if what else {}
        assert expected in markdown(found(planned(tiny, **vary)))


def test_arms_that_learnt_too_little_are_named_in_table_and_page(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LEVELS, "b", 0.1)
    content = found(planned(tiny), lambda cell: {"undertrained": cell.arm == "a" and cell.seed == 2})
    warnings = {row.arm: row.warnings for row in content.rows if row.warnings}
    assert list(warnings) == ["a", "b"]
    assert warnings["a"][0].startswith("the best epoch is the last that epochs allows (1 of 2 seeds)")
    assert warnings["b"][0].startswith("recall@10 is below Pop's")
    text = markdown(content)
    content.write()
    page = write_report([Path.cwd()]).read_text()
    for arm, (warning,) in warnings.items():
        assert f"- {arm}: {warning}." in text
        assert f"<p class='warning'><b>{arm}</b>: {warning.replace(chr(39), '&#x27;')}.</p>" in page


@pytest.mark.parametrize(("test_best", "expected"), [(0, []), (1, ["a"]), (2, ["a", "b"])])
def test_the_best_on_validation_are_chosen_and_nobody_else(
    tiny: dict[str, Any], test_best: int, expected: list[str]
) -> None:
    """References are not chosen, nor what leaks; the figures are validation's."""
    plan = planned(tiny, test_best=test_best)
    results = [result(cell) for cell in plan.cells]
    assert chosen_on_validation(plan, results) == [("given", arm) for arm in expected]
    leaking = [result(cell, leaking=cell.arm == "a") for cell in plan.cells]
    assert ("given", "a") not in chosen_on_validation(plan, leaking)
    content = summarised(plan, results, Path.cwd())
    assert all("test" not in row.plain() for row in content.rows)
    assert "test is read of the chosen alone" in markdown(content)


def test_where_less_is_better_the_least_is_chosen(tiny: dict[str, Any]) -> None:
    plan = replace(planned(tiny, test_best=1), valid_metric_bigger=False)
    assert chosen_on_validation(plan, [result(cell) for cell in plan.cells]) == [("given", "plain")]


EVIDENCE = sorted((Path(__file__).resolve().parents[2] / "docs" / "evidence").glob("*/comparison.json"))


@pytest.mark.parametrize("test_best", [None, 1])
def test_what_is_read_is_what_was_written(test_best: int | None, tiny: dict[str, Any]) -> None:
    plan = planned(tiny, **({"test_best": 1} if test_best else {"margin": {"recall@10": 0.1}, "against": {"a": ["b"]}}))
    content = found(plan)
    if test_best:
        content = replace(content, chosen=[Chosen("given", "a", [1, 2], row(content, "a").metrics)])
    curve = [Epoch(0, 1.0, 0.5), Epoch(1, 1.0, 0.4, {"recall@10": 0.2})]
    content = replace(content, rows=[replace(row, curve=curve) for row in content.rows])
    content.write()
    assert Comparison.read(Path.cwd()) == content
    assert json.loads(Path("comparison.json").read_text())["rows"][0]["curve"][0] == {
        "epoch": 0,
        "seconds": 1.0,
        "loss": 0.5,
    }


@pytest.mark.parametrize("file", EVIDENCE, ids=lambda file: file.parent.name)
def test_the_published_comparisons_are_read_and_drawn(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Most of them were written by version 0.1; with the figures of the table that was written then."""
    read = Comparison.read(file.parent)
    then = [line for line in file.with_name("comparison.md").read_text().splitlines() if line.startswith("|")]
    assert [line for line in markdown(read).splitlines() if line.startswith("|")] == then
    page = write_report([file.parent], "page.html").read_text()
    assert page.count("plotly-graph-div") > 4
    if "format" not in json.loads(file.read_text()):
        assert "as version 0.1 wrote it" in caplog.text and "9,999 sign flips" in page


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content["rows"][0].pop("valid"), "valid: Field required"),
        (lambda content: content["rows"][0].update(seeds="all"), "seeds: Input should be a valid list"),
        (lambda content: content.update(format=3), "of another version"),
        (lambda content: content.pop("pairs"), "pairs: Field required"),
        (lambda content: content["rows"][0].pop("measured"), "measured"),
    ],
)
def test_a_comparison_of_another_form_is_refused(
    damage: Callable[[dict[str, Any]], object], message: str, tiny: dict[str, Any]
) -> None:
    content = found(planned(tiny)).plain()
    damage(content)
    Path("comparison.json").write_text(sealed(content))
    with pytest.raises(ConfigError, match=rf"{message}.*start the comparison again"):
        write_report([Path.cwd()])
