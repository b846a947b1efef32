"""Figures of README and evidence are those that benchmarks and comparisons wrote; samples are what commands print."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.mark.parametrize("page", ["README.md", "docs/evidence.md"])
def test_tables_are_the_measured_ones(page: str) -> None:
    """Typing a figure by hand, or measuring anew without `python benchmarks/readme.py`, fails here."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))
    text = (ROOT / page).read_text()
    assert page in benchmark["PAGES"]
    assert len(benchmark["PLACE"].findall(text)) >= 4
    assert benchmark["filled"](text) == text


def test_the_gains_intervals_are_those_of_the_comparisons() -> None:
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "gain_intervals.py"))
    assert benchmark["RESULT"].read_text() == benchmark["gains"]()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the commands print now, by sample; the later ones reuse what the first prepared."""
    folder = tmp_path_factory.mktemp("samples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECBOLE_DTLNS_CACHE", str(folder / "cache"))
        samples = runpy.run_path(str(ROOT / "benchmarks" / "samples.py"))["SAMPLES"]
        return {name: sample() for name, sample in samples.items()}


@pytest.mark.parametrize("name", ["prepare", "audit", "convert"])
def test_samples_are_what_the_commands_print(name: str, printed: dict[str, str]) -> None:
    """Word by word; figures may differ as they do between machines. Mended by `python benchmarks/samples.py`."""
    shown = (ROOT / "benchmarks" / "results" / f"sample_{name}.md").read_text()
    assert words(printed[name]) == words(shown)
    assert figures(printed[name]) == pytest.approx(figures(shown), rel=0.05, abs=0.3)
    assert f"benchmarks/results/sample_{name}.md" in (ROOT / "README.md").read_text()


def words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def figures(text: str) -> list[float]:
    return [float(figure) for figure in NUMBER.findall(text)]


def test_every_sample_of_output_in_the_readme_is_generated() -> None:
    """No line that only a command prints stands outside the places that are filled."""
    by_hand = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))["PLACE"].sub("", (ROOT / "README.md").read_text())
    only_printed = ("prepared from", "(base rate", "were called false negatives", "rows left out")
    assert [line for line in only_printed if line in by_hand] == []
