"""Why an item is recommended, and why it was relabelled: what is said of one user's items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Near:
    """An item of the user's history, by name, and how like the explained one it is, at most 1."""

    item: str
    similarity: float


@dataclass(frozen=True)
class View:
    """How something that was learnt or prepared sees the item beside the history.

    Attributes:
        name: of what looks: the model, a teacher, or an item tree.
        nearest: the nearest items of the history, best first; empty where it has nothing in common with any.
    """

    name: str
    nearest: list[Near]

    def in_words(self) -> str:
        """The nearest items, or that there is none."""
        return "; ".join(f"{one.item} ({one.similarity:.2f})" for one in self.nearest) or "none"


@dataclass(frozen=True)
class Opinion:
    """What a teacher thinks of the pair.

    Attributes:
        teacher: its name.
        rank: in its list of the user, from 1; None where it is not in it.
        score: its own; of one of several teachers, the share of the score of its best item.
    """

    teacher: str
    rank: int | None
    score: float


@dataclass(frozen=True)
class Judged:
    """What came of the pair before training.

    Attributes:
        judge: its name.
        verdict: `false negative`, `negative`, or `abstained`.
        probability: that it is a false negative; None where the judge abstained.
        opinions: of the teachers.
        features: what a learnt judge looks at, by name.
        place: among the user's pseudo-positives, from 1; None where it is none.
        weight: of the row that training got, where an observed one weighs 1; None without one.
    """

    judge: str
    verdict: str
    probability: float | None
    opinions: list[Opinion]
    features: dict[str, float]
    place: int | None
    weight: float | None


@dataclass(frozen=True)
class ItemReasons:
    """Why one item.

    Attributes:
        item, title: its token, and its name where the data have one.
        rank: among what is recommended to the user, from 1; None where it is not recommended.
        score: the model's.
        known_from: the parts of the data in which the user has it; empty where it is new to the user.
        views: of the item beside the history.
        judged: what came of it before training; None where it was no candidate, or that is not known.
        unjudged: why `judged` is None, in a sentence.
    """

    item: str
    title: str
    rank: int | None
    score: float
    known_from: list[str]
    views: list[View]
    judged: Judged | None = None
    unjudged: str = ""

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        place = f"number {self.rank} of the recommendations" if self.rank else "not recommended"
        known = f"; the user has it ({', '.join(self.known_from)})" if self.known_from else ""
        name = self.title if self.title == self.item else f"{self.title} [{self.item}]"
        yield f"{name}: {place}, score {self.score:.3f}{known}"
        for view in self.views:
            yield f"  {view.name}: {view.in_words()}"
        if self.judged is None:
            if self.unjudged:
                yield f"  before training: {self.unjudged}"
            return
        yield from (f"  {line}" for line in judged_lines(self.judged))


@dataclass(frozen=True)
class UserReasons:
    """Why these items for this user.

    Attributes:
        user: token.
        model, dataset: of the run.
        leaking, refit: marks of the run.
        history: names of what the user has in train.
        items: the explained ones.
        missing: what could not be looked at, in sentences.
    """

    user: str
    model: str
    dataset: str
    leaking: bool
    refit: bool
    history: list[str]
    items: list[ItemReasons]
    missing: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For a terminal."""
        mark = "LEAKING: " if self.leaking else ""
        some = "; ".join(self.history[:10]) + ("; ..." if len(self.history) > 10 else "")
        head = [
            f"{mark}user {self.user}, {self.model} on {self.dataset}{' (refit)' if self.refit else ''}",
            f"has {len(self.history)} items: {some}",
            *(f"note: {text}" for text in self.missing),
        ]
        return "\n".join([*head, *(line for item in self.items for line in ("", *item.lines()))])


def judged_lines(judged: Judged) -> Iterator[str]:
    """What came of a pair before training, a line for each thing."""
    sure = "" if judged.probability is None else f", probability {judged.probability:.3f}"
    yield f"judge {judged.judge}: {judged.verdict}{sure}"
    for one in judged.opinions:
        rank = "not in its list" if one.rank is None else f"rank {one.rank}"
        yield f"teacher {one.teacher}: {rank}, score {one.score:.3f}"
    if judged.place is not None:
        row = "not added as a row" if judged.weight is None else f"a training row of weight {judged.weight:.2f}"
        yield f"relabelled: number {judged.place} of the user's pseudo-positives, {row}"
    if judged.features:
        yield "features: " + ", ".join(f"{name} {value:.3g}" for name, value in judged.features.items())
