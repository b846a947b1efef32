"""Finished comparisons as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import plotly.graph_objects as go

from recbole_dtlns.reports import figures
from recbole_dtlns.reports.pages import draw, lines, page, table
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.studies.compare.comparison import Comparison, Row
from recbole_dtlns.studies.compare.explanation import Explanation, Relabelled
from recbole_dtlns.studies.compare.tables import (
    ABOUT_CHOICES,
    ABOUT_GROUPS,
    ABOUT_MARGINS,
    ABOUT_REFITS,
    GROUPS,
    VALIDATION_ALONE,
    about_seeds,
    about_tests,
    choices_table,
    chosen_table,
    groups_table,
    main_metric,
    margins_table,
    pairs_table,
    refits_table,
    results_table,
)

REPORT = "report.html"
_MOST_LINES = 10  # curves that one can tell apart


def write_report(folders: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the page of one or several comparisons.

    Args:
        folders: made by `recbole-dtlns compare`.
        output: the file; default report.html in the first folder.

    Raises:
        ConfigError: a folder holds no comparison.
    """
    comparisons = [Comparison.read(Path(folder)) for folder in folders]
    numbers = iter(range(10**6))

    def drawn(figure: go.Figure, height: int = 480) -> str:
        return draw(figure, f"figure-{next(numbers)}", height)

    parts = [part for found in comparisons for part in _comparison(found, drawn)]
    names = ", ".join(found.experiment.name for found in comparisons)
    file = Path(output) if output else Path(folders[0]) / REPORT
    write_file(file, page(f"Comparison: {names}", "\n".join(parts)), "--output")
    return file


Drawn = Callable[..., str]


def _comparison(found: Comparison, drawn: Drawn) -> Iterator[str]:
    about = found.experiment
    once = "and test was read once" if about.measured == "test" else VALIDATION_ALONE
    yield f"<h2>{html.escape(about.name)}: {html.escape(about.about or 'what was run')}</h2>"
    yield (
        f"<p>Data set <b>{html.escape(about.dataset)}</b>; seeds {about_seeds(about)}; "
        f"{about.finished} of {about.runs} runs are finished. Every arm chose its epoch by "
        f"{about.valid_metric} on validation, {once}. All items are "
        "ranked, and only items that the user is known to have are left out of the ranking.</p>"
    )
    yield _arms(found.rows)
    for split in about.splits:
        here = found.of_split(split)
        if here.rows:
            yield from _split(here, split, drawn)
    explained = [(row, row.explanation) for row in found.rows if row.explanation]
    if explained:
        best, file = max(explained, key=lambda one: one[0].valid.mean or 0.0)
        if (found.folder / file).exists():
            yield from _preparation(best.arm, Explanation.read(found.folder / file), drawn)
        else:
            yield f"<p>What was found before training is in {html.escape(file)}, which was not copied here.</p>"


def _arms(rows: Sequence[Row]) -> str:
    by_name = {row.arm: row for row in rows}
    cells = []
    for name, row in by_name.items():
        keys = ", ".join(f"{key.removeprefix('dtlns_')} {value}" for key, value in row.settings.items())
        model = name if row.reference else row.model.rpartition(":")[2]
        cells.append([name, model, "reference, not tuned" if row.reference else keys or "the shared settings"])
    return "<h3>What was run</h3>" + table(["arm", "model", "own settings"], cells, words=True)


def _split(here: Comparison, split: str, drawn: Drawn) -> Iterator[str]:
    about, rows = here.experiment, here.rows
    names, baseline = about.metrics, about.baseline
    main = main_metric(names, about.valid_metric)
    arms = [row for row in rows if not row.reference]
    yield f"<h2>Results, split: {html.escape(split)}</h2>"
    yield (
        f"<p>{about.users[split]} {about.measured} users; means and standard deviations over seeds. "
        f"The percentage is the change against <b>{html.escape(baseline)}</b>. * p &lt; .05, ** p &lt; .01, two-sided: "
        f"{about_tests(about, split)}. Without a star the difference may be chance. Better/equal/worse: users. "
        "The best epoch is the mean over seeds.</p>"
    )
    yield table(*results_table(rows, names, about.valid_metric))
    for row in rows:
        for text in row.warnings:
            yield f"<p class='warning'><b>{html.escape(row.arm)}</b>: {html.escape(text)}.</p>"
    yield drawn(figures.values(rows, main), figures.bars_height(rows))
    if any(row.tests for row in rows):
        yield "<h3>Is the difference real?</h3>"
        yield (
            "<p>Mean difference by user with its 95 % bootstrap interval; filled points are significant at .05 after "
            "correction.</p>"
        )
        yield drawn(figures.differences(rows, main, baseline), figures.bars_height(rows))
    yield from _further_tests(here)
    leaking = [row for row in rows if row.authors_mask]
    if leaking:
        yield "<h3>What the published evaluation would claim</h3>"
        yield (
            "<p class='warning'>LEAKING, no results: the same trained models, but a judge's positives, purged of "
            "validation and test pairs, are left out of the ranking as if the users were known to have them. That "
            "removes known misses and lifts every model, whatever it was trained with.</p>"
        )
        yield drawn(figures.leaks(leaking, main), 60 + int(1.4 * figures.bars_height(leaking)))
    curved = [row for row in arms if sum(epoch.valid is not None for epoch in row.curve) > 1]
    if curved:
        shown = _best(curved, main)
        yield f"<h3>How they learn</h3><p>First seed.{_left_out(curved, shown)}</p>"
        yield drawn(figures.learning_curves(shown, about.valid_metric))
    yield from _sweeps(rows, main, drawn)
    if any(row.recovered is not None for row in rows):
        yield "<h3>Hidden positives</h3>"
        yield (
            "<p>Some train pairs were hidden on purpose, so they look unobserved though the users have them. Share of "
            "them that is recommended:</p>"
        )
        found = [row for row in rows if row.recovered is not None]
        yield table(["arm", "recovered"], [[row.arm, f"{row.recovered:.2%}"] for row in found])
    shown = _best(rows, main)
    yield f"<h3>For whom?</h3><p>Users in four groups by the length of their history.{_left_out(rows, shown)}</p>"
    yield drawn(figures.user_groups(shown, main), 520)
    yield "<h3>Which items are found?</h3><p>The pairs to be found in five groups by the popularity of the item.</p>"
    yield drawn(figures.item_groups(shown), 520)
    yield "<h3>What is recommended?</h3>"
    yield "<p>To the right: more of the catalogue is recommended to somebody. Higher: more popular items are.</p>"
    yield drawn(figures.spread(shown), 520)


def _further_tests(here: Comparison) -> Iterator[str]:
    """Against margins and of named pairs; and test of what validation chose."""
    names = here.experiment.metrics
    if any(row.margins for row in here.rows):
        yield f"<h3>By more than a margin?</h3><p>{ABOUT_MARGINS}.</p>"
        yield table(*margins_table(here.rows))
    if here.pairs:
        yield "<h3>Named pairs</h3>"
        yield table(*pairs_table(here.pairs, names))
    for by, (title, about_groups) in GROUPS.items():
        if any(group.by == by for group in here.groups or ()):
            yield f"<h3>{title}</h3><p>{about_groups}. {ABOUT_GROUPS}.</p>"
            yield table(*groups_table(here, by))
    if here.choices:
        yield f"<h3>What validation chose among</h3><p>{ABOUT_CHOICES}.</p>"
        yield table(*choices_table(here.choices, here.experiment.valid_metric))
    if here.chosen:
        yield "<h3>Test, of what validation chose</h3>"
        yield table(*chosen_table(here.chosen, names))
    if here.refits:
        yield "<h3>Refitted on train and validation: no part of the comparison above</h3>"
        yield f"<p class='warning'>{ABOUT_REFITS}.</p>"
        yield table(*refits_table(here, names))


def _sweeps(rows: Sequence[Row], main: str, drawn: Drawn) -> Iterator[str]:
    for key in dict.fromkeys(key for row in rows for key in row.swept or {}):
        along = [row for row in rows if row.swept and key in row.swept]
        if len({str(row.swept[key]) for row in along if row.swept}) > 1:
            yield f"<h3>Sensitivity to {html.escape(key)}</h3>"
            yield drawn(figures.sweep(along, key, main))


_TREES = {
    "structure": "items that the same users have lie together",
    "semantic": "items that the teacher sees as alike lie together",
    "text": "items that say alike lie together",
    "codes": "as the codes of the .item file have it",
}


def _preparation(arm: str, found: Explanation, drawn: Drawn) -> Iterator[str]:
    yield f"<h2>Before training: what was found for {html.escape(arm)}</h2>"
    yield lines(found.summary)
    for name, tree in found.trees.items():
        about = f": {_TREES[name]}" if name in _TREES else ""
        yield f"<h3>The {html.escape(name)} tree{about}</h3>"
        yield "<p>A part shows its two most popular items. Click it to open it; the middle leads back.</p>"
        yield drawn(figures.tree(tree), 560)
    yield "<h3>When does the judge call a candidate a false negative?</h3>"
    yield drawn(figures.overlap(found.overlap))
    yield "<h3>Do the judge's probabilities come true?</h3>"
    yield (
        "<p>Of the candidates given about the same probability, the share that are validation pairs. Most false "
        "negatives never show up in so small a part of the data, so look at whether the line rises, not how high it "
        "is. Validation pairs were looked at only after training, for this figure.</p>"
    )
    yield drawn(figures.reliability(found.reliability))
    if found.examples:
        yield "<h3>Examples</h3>"
        yield "<p>Items that were added as positives, with the teacher's rank and the judge's probability.</p>"
        cells = []
        for example in found.examples:
            added = "; ".join(_relabelled(item) for item in example.relabelled)
            has = "; ".join(map(str, example.has))
            cells.append([f"{example.user} ({example.history} items)", has, added])
        yield table(["user", "some items of the history", "relabelled as positive"], cells, words=True)


def _relabelled(item: Relabelled) -> str:
    sure = "" if item.probability is None else f", probability {item.probability:.2f}"
    return f"{item.item} (rank {item.rank}{sure})"


def _best(rows: Sequence[Row], metric: str) -> list[Row]:
    """As many as one can tell apart, in their order."""
    chosen = sorted(rows, key=lambda row: -row.mean(metric))[:_MOST_LINES]
    return [row for row in rows if row in chosen]


def _left_out(rows: Sequence[Row], shown: Sequence[Row]) -> str:
    return f" Shown are the {len(shown)} best of {len(rows)} arms." if len(shown) < len(rows) else ""
