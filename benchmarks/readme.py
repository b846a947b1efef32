"""Puts tables and samples of output into the README and the guide, between comments that name their files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if "evidence" not in page.parts),
)
PLACE = re.compile(r"(<!-- ((?:benchmarks|docs)/[\w/.-]+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every named place filled from its file."""

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}\n{_without_heading((ROOT / found[2]).read_text())}\n{found[3]}"

    return PLACE.sub(table, text)


def _without_heading(text: str) -> str:
    return re.sub(r"\A# .*\n+", "", text).replace("\n## ", "\n#### ").replace("\n### ", "\n#### ")


if __name__ == "__main__":
    for name in PAGES:
        page = ROOT / name
        page.write_text(filled(page.read_text()))
