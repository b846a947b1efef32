"""Figures of README and guide are those that benchmarks and comparisons wrote; samples are what commands print."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from guide import PAGES, ROOT, name

NUMBER = re.compile(r"\d+(?:\.\d+)?")
FEWER = re.compile(r"\| ([\d.]+) \| ([\d.]+)\xd7(?: fewer)? \|$")  # tokens per pair, and by what factor they are fewer


def test_tables_are_the_measured_ones() -> None:
    """Typing a figure by hand, or measuring anew without `python benchmarks/readme.py`, fails here."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))
    placed = 0
    for page in map(name, PAGES):
        text = (ROOT / page).read_text()
        assert page in benchmark["PAGES"]
        assert benchmark["filled"](text) == text, f"{page}: run python benchmarks/readme.py"
        placed += len(benchmark["PLACE"].findall(text))
    assert placed >= 30


def test_the_results_in_short_are_those_of_the_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "in_short.py"))
    assert benchmark["TABLE"].read_text() == f"{benchmark['in_short_table']()}\n"
    assert benchmark["PICTURE"].read_text() == benchmark["in_short_picture"]()


def test_tables_of_tuning_are_those_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "tuning_tables.py"))
    files = sorted(benchmark["TUNING"].glob("*.json"))
    assert files
    for file in files:
        assert file.with_suffix(".md").read_text() == benchmark["tuning_table"](file)


def test_the_table_of_rare_items_is_that_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "rare_items.py"))
    table = (benchmark["EVIDENCE"] / "rare_items.md").read_text()
    assert table == f"{benchmark['rare_items_table']()}\n" and len(table.splitlines()) == 12


def test_the_tokens_of_judges_are_the_measured_ones() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "judge_tokens.json").read_text())
    shapes, distilled = measured["per pair"], measured["distilled"]
    baseline = shapes["baseline: whole history per pair, JSON"]
    rows = [line for line in (ROOT / "docs" / "how-to" / "llm-judge.md").read_text().splitlines() if FEWER.search(line)]
    tokens = [
        baseline,
        shapes["shape pair, cache: blocks of 16"],
        shapes["shape user, cache: none"],
        distilled["tokens per pair, distilled"],
    ]
    factors = ["1", *(f"{baseline / count:.1f}" for count in tokens[1:])]
    expected = [(f"{count:.1f}", factor) for count, factor in zip(tokens, factors, strict=True)]
    assert [FEWER.findall(row)[0] for row in rows] == expected
    scores = [f"{distilled[f'AUC of {who}']:.3f}".removeprefix("0") for who in ("distilled", "the LLM")]
    assert "audit AUC {} against {} of asking about all".format(*scores) in rows[-1]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """What the command of a sample prints now; the later ones reuse what the first prepared.

    Each by itself, so that one that fails, or takes long, hides no other.
    """
    folder = tmp_path_factory.mktemp("samples")
    samples = runpy.run_path(str(ROOT / "benchmarks" / "samples.py"))["SAMPLES"]

    def of(name: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("RECBOLE_DTLNS_CACHE", str(folder / "cache"))
            return samples[name]()

    return of


@pytest.mark.parametrize("sample", ["prepare", "audit", "convert"])
def test_samples_are_what_the_commands_print(sample: str, printed: Callable[[str], str]) -> None:
    """Word by word; figures may differ as they do between machines. Mended by `python benchmarks/samples.py`."""
    shown = (ROOT / "benchmarks" / "results" / f"sample_{sample}.md").read_text()
    now = printed(sample)
    assert words(now) == words(shown)
    assert figures(now) == pytest.approx(figures(shown), rel=0.05, abs=0.3)
    assert any(f"benchmarks/results/sample_{sample}.md" in page.read_text() for page in PAGES)


def words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def figures(text: str) -> list[float]:
    return [float(figure) for figure in NUMBER.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_sample_of_output_is_generated(page: Path) -> None:
    """No line that only a command prints stands outside the places that are filled."""
    by_hand = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))["PLACE"].sub("", page.read_text())
    only_printed = ("prepared from", "(base rate", "were called false negatives", "rows left out")
    assert [line for line in only_printed if line in by_hand] == []
