"""The README's figures are those that the benchmarks wrote."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tables_are_the_benchmarks_own() -> None:
    """Typing a figure by hand, or measuring anew without `python benchmarks/readme.py`, fails here."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))
    text = (ROOT / "README.md").read_text()
    assert len(benchmark["PLACE"].findall(text)) >= 4
    assert benchmark["filled"](text) == text
