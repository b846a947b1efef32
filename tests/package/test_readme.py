"""The figures of README and evidence are those that benchmarks and comparisons wrote."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/evidence.md"])
def test_tables_are_the_measured_ones(page: str) -> None:
    """Typing a figure by hand, or measuring anew without `python benchmarks/readme.py`, fails here."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))
    text = (ROOT / page).read_text()
    assert page in benchmark["PAGES"]
    assert len(benchmark["PLACE"].findall(text)) >= 4
    assert benchmark["filled"](text) == text
