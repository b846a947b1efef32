"""What the stages before training found, for the report: trees, verdicts, relabelled items."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from recbole_dtlns.storage.sealed_json import read_sealed, sealed
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.storage.whole_files import write_file


@dataclass(frozen=True)
class Node:
    """One node of an item tree.

    Attributes:
        path: its child numbers from the root, as in `0-3-1`; empty for the root.
        parent: the path of its parent; None for the root.
        items: how many are below it.
        some: titles of the most popular of them.
    """

    path: str
    parent: str | None
    items: int
    some: list[str]


@dataclass(frozen=True)
class Level:
    """Candidates with about the same similarity to the user's history, and the share of them called positive."""

    similarity: float
    candidates: int
    positive: float


@dataclass(frozen=True)
class Stated:
    """Candidates given about the same probability, and the share of them that are validation pairs."""

    stated: float
    found: float
    candidates: int


@dataclass(frozen=True)
class Relabelled:
    """An item that was added as a positive, with the teacher's rank (from 1) and the judge's probability, if any."""

    item: str
    rank: int
    probability: float | None


@dataclass(frozen=True)
class Example:
    """A user, by token, with the length of the history, some items of it, and items that were relabelled."""

    user: str
    history: int
    has: list[str]
    relabelled: list[Relabelled]


@dataclass(frozen=True)
class Explanation:
    """What a run's preparation found.

    Attributes:
        summary: text.
        trees: nodes by tree, from the root down.
        overlap: by tree.
        reliability: of the judge's probabilities.
        examples: of users.
    """

    summary: str
    trees: dict[str, list[Node]]
    overlap: dict[str, list[Level]]
    reliability: list[Stated]
    examples: list[Example]

    def write(self, file: Path) -> None:
        """Write it as JSON with a checksum."""
        write_file(file, sealed(asdict(self)), "--output")

    @classmethod
    def read(cls, file: Path) -> Explanation:
        """Read what `write` wrote.

        Raises:
            ArtefactError: the file is missing, damaged, or of another form.
        """
        return read_as(cls, read_sealed(file), file)
