"""Puts the tables of `benchmarks/results/` into the README, between the comments that name them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = re.compile(r"(<!-- benchmarks/results/(\w+)\.md -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every named place filled from its file."""

    def table(found: re.Match[str]) -> str:
        content = (ROOT / "benchmarks" / "results" / f"{found[2]}.md").read_text()
        return f"{found[1]}\n{content}\n{found[3]}"

    return PLACE.sub(table, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))
