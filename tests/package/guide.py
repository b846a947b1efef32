"""The pages of the guide as data: their blocks, what is said of these, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "evidence" not in page.relative_to(ROOT).parts),
]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run|file): (?P<said>.*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
RUN_FOLDER = re.compile(r"saved/(\w+)-([\w-]+)-<time>-<id>")


@dataclass(frozen=True)
class Block:
    """A block of code in a page.

    Attributes:
        language: after its fence.
        text: what it holds.
        not_run: the reason why no test runs it; None where one does.
        file: what it is saved as, where later blocks read it.
    """

    language: str
    text: str
    not_run: str | None
    file: str | None

    def commands(self) -> list[list[str]]:
        """The command lines of a block for the shell, as lists of words."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
        lines = [shlex.split(part, comments=True) for line in text.splitlines() for part in line.split(" && ")]
        return [words for words in lines if words]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    found = []
    for one in BLOCK.finditer(page.read_text(encoding="utf-8")):
        said = {one["mark"]: one["said"]}
        found.append(Block(one["language"], one["text"], said.get("not run"), said.get("file")))
    return found


def name(page: Path) -> str:
    """What a page is called in the repository."""
    return str(page.relative_to(ROOT))
