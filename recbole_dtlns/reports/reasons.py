"""Why items are recommended to one user, as a page that opens offline and needs no knowledge of models."""

from __future__ import annotations

import html
from collections.abc import Iterator

from recbole_dtlns.reports.pages import page, table
from recbole_dtlns.serving.reasons import ItemReasons, Judged, UserReasons, View

_HISTORY = 30


def reasons_page(found: UserReasons) -> str:
    """The reasons as HTML; what comes from the data is shown as written, never read as HTML."""
    items = "this item" if len(found.items) == 1 else "these items"
    return page(f"Why {items} for user {found.user}?", "\n".join(_body(found)), figures=False)


def _body(found: UserReasons) -> Iterator[str]:
    if found.leaking:
        yield (
            "<p class='warning'>LEAKING: this run is of the protocol 'authors'. What it learnt from was purged by "
            "pairs of validation and test.</p>"
        )
    refit = ", trained on train and validation," if found.refit else ""
    yield f"<p>Made by {_text(found.model)}{refit} on the data set {_text(found.dataset)}.</p>"
    yield from (f"<p class='warning'>{_text(note)}.</p>" for note in found.missing)
    more = f" and {len(found.history) - _HISTORY} more" if len(found.history) > _HISTORY else ""
    yield "<h2>What the user has</h2>"
    yield f"<p>{len(found.history)} items: {_text('; '.join(found.history[:_HISTORY]))}{more}.</p>"
    for item in found.items:
        yield from _item(item, alone=len(found.items) == 1)
    yield (
        "<h2>How to read this</h2><p><b>Alike</b> means: near each other in what was learnt from who has which items; "
        "1 is the same, 0 has nothing in common. A <b>teacher</b> is a simple recommender that named, before training, "
        "items that the user might like. A <b>judge</b> decided which of these the user would like indeed, though the "
        "data do not show it: false negatives. These are not taught as dislikes, and the best of them count as likes "
        "of a smaller weight.</p>"
    )


def _item(item: ItemReasons, alone: bool) -> Iterator[str]:
    """What is said of an item; that it is number 2 reads as a list's only where the others stand beside it."""
    if item.rank and alone:
        yield f"<h2>{_text(item.title)}: number {item.rank} of the recommendations</h2>"
    else:
        yield f"<h2>{f'{item.rank}. ' if item.rank else ''}{_text(item.title)}</h2>"
    if item.rank and item.views and item.views[0].nearest:
        alike = " and ".join(f"<b>{_text(one.item)}</b>" for one in item.views[0].nearest[:2])
        yield f"<p>Recommended to somebody who has {alike}, which it is most like.</p>"
    parts = [] if item.title == item.item else [f"Item {_text(item.item)}."]
    if item.rank is None:
        parts.append("It is not among the user's recommendations.")
    if item.known_from:
        parts.append(f"The user has it already ({_text(', '.join(item.known_from))}).")
    parts.append(f"The model's score is {item.score:.3f}.")
    yield f"<p>{' '.join(parts)}</p>"
    if item.views:
        yield "<h3>Which of the user's items is it like?</h3>"
        yield table(["seen by", "most alike"], [[_seen_by(view), view.in_words()] for view in item.views], words=True)
    if item.judged is not None:
        yield from _judged(item.judged)
    elif item.unjudged:
        yield f"<p>Before training: {_text(item.unjudged)}.</p>"


def _judged(judged: Judged) -> Iterator[str]:
    yield "<h3>What was thought of it before training?</h3>"
    sure = "" if judged.probability is None else f", with a probability of {judged.probability:.1%}"
    yield f"<p>The judge <b>{_text(judged.judge)}</b> said: <b>{_text(judged.verdict)}</b>{sure}."
    if judged.place is not None:
        row = (
            "no training row was added for it"
            if judged.weight is None
            else f"it was taught as a like that weighs {judged.weight:.2f}, where a real one weighs 1"
        )
        yield f" It is number {judged.place} of the items that were relabelled for the user; {row}."
    yield "</p>"
    rows = [
        [one.teacher, "not in its list" if one.rank is None else str(one.rank), f"{one.score:.3f}"]
        for one in judged.opinions
    ]
    yield table(["teacher", "rank", "score"], rows, words=True)
    if judged.features:
        yield "<details><summary>What the judge looked at</summary>"
        yield table(["feature", "value"], [[name, f"{value:.4g}"] for name, value in judged.features.items()])
        yield "</details>"


def _seen_by(view: View) -> str:
    return view.name.removeprefix("nearest ").removeprefix("in ").removeprefix("for ")


def _text(text: str) -> str:
    return html.escape(text)
