"""Finished comparisons as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from recbole_dtlns.bridge.runner import write_file
from recbole_dtlns.errors import ArtefactError, ConfigError
from recbole_dtlns.reports import figures
from recbole_dtlns.reports.pages import draw, lines, page, table
from recbole_dtlns.storage.sealed_json import read_sealed
from recbole_dtlns.studies.compare.results import FORMAT, JSON
from recbole_dtlns.studies.compare.tables import (
    ABOUT_MARGINS,
    VALIDATION_ALONE,
    about_seeds,
    about_tests,
    chosen_table,
    main_metric,
    margins_table,
    measured,
    pairs_table,
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
    contents = [(Path(folder), _read(Path(folder))) for folder in folders]
    numbers = iter(range(10**6))

    def drawn(figure: go.Figure, height: int = 480) -> str:
        return draw(figure, f"figure-{next(numbers)}", height)

    parts = [part for folder, content in contents for part in _comparison(folder, content, drawn)]
    names = ", ".join(content["experiment"]["name"] for _, content in contents)
    file = Path(output) if output else Path(folders[0]) / REPORT
    write_file(file, page(f"Comparison: {names}", "\n".join(parts)))
    return file


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = read_sealed(folder / JSON, old=True)
    except ArtefactError as error:
        raise ConfigError(
            f"{folder} holds no finished comparison ({error}): give a folder that 'recbole-dtlns compare' wrote, or "
            "start it again, which repeats nothing that is done"
        ) from error
    if content.get("format") != FORMAT:
        raise ConfigError(f"{folder / JSON} is of another version of recbole_dtlns: start the comparison again")
    return content


Drawn = Callable[..., str]


def _comparison(folder: Path, content: dict[str, Any], drawn: Drawn) -> Iterator[str]:
    experiment = content["experiment"]
    once = "and test was read once" if experiment["measured"] == "test" else VALIDATION_ALONE
    yield f"<h2>{html.escape(experiment['name'])}: {html.escape(experiment['about'] or 'what was run')}</h2>"
    yield (
        f"<p>Data set <b>{html.escape(experiment['dataset'])}</b>; seeds {about_seeds(experiment)}; "
        f"{experiment['finished']} of {experiment['runs']} runs are finished. Every arm chose its epoch by "
        f"{experiment['valid_metric']} on validation, {once}. All items are "
        "ranked, and only items that the user is known to have are left out of the ranking.</p>"
    )
    yield _arms(content["rows"])
    for split in experiment["splits"]:
        rows = [row for row in content["rows"] if row["split"] == split]
        if rows:
            yield from _split(rows, split, content, drawn)
    explained = [row for row in content["rows"] if row["explanation"]]
    if explained:
        best = max(explained, key=lambda row: row["valid"]["mean"] or 0.0)
        found = read_sealed(folder / best["explanation"])
        yield from _preparation(best["arm"], found, drawn)


def _arms(rows: list[dict[str, Any]]) -> str:
    by_name = {row["arm"]: row for row in rows}
    cells = []
    for name, row in by_name.items():
        keys = ", ".join(f"{key.removeprefix('dtlns_')} {value}" for key, value in row["settings"].items())
        model = name if row["reference"] else row["model"].rpartition(":")[2]
        cells.append([name, model, "reference, not tuned" if row["reference"] else keys or "the shared settings"])
    return "<h3>What was run</h3>" + table(["arm", "model", "own settings"], cells, words=True)


def _split(rows: list[dict[str, Any]], split: str, content: dict[str, Any], drawn: Drawn) -> Iterator[str]:
    experiment = content["experiment"]
    names, baseline = experiment["metrics"], experiment["baseline"]
    main = main_metric(names, experiment["valid_metric"])
    arms = [row for row in rows if not row["reference"]]
    yield f"<h2>Results, split: {html.escape(split)}</h2>"
    yield (
        f"<p>{experiment['users'][split]} {experiment['measured']} users; means and standard deviations over seeds. "
        f"The percentage is the change against <b>{html.escape(baseline)}</b>. * p &lt; .05, ** p &lt; .01, two-sided: "
        f"{about_tests(experiment, split)}. Without a star the difference may be chance. Better/equal/worse: users. "
        "The best epoch is the mean over seeds.</p>"
    )
    yield table(*results_table(rows, names, experiment["valid_metric"]))
    for row in rows:
        for text in row["warnings"]:
            yield f"<p class='warning'><b>{html.escape(row['arm'])}</b>: {html.escape(text)}.</p>"
    yield drawn(figures.values(rows, main), figures.bars_height(rows))
    if any(row["tests"] for row in rows):
        yield "<h3>Is the difference real?</h3>"
        yield (
            "<p>Mean difference by user with its 95 % bootstrap interval; filled points are significant at .05 after "
            "correction.</p>"
        )
        yield drawn(figures.differences(rows, main, baseline), figures.bars_height(rows))
    yield from _further_tests(rows, split, content)
    leaking = [row for row in rows if row["authors_mask"]]
    if leaking:
        yield "<h3>What the published evaluation would claim</h3>"
        yield (
            "<p class='warning'>LEAKING, no results: the same trained models, but a judge's positives, purged of "
            "validation and test pairs, are left out of the ranking as if the users were known to have them. That "
            "removes known misses and lifts every model, whatever it was trained with.</p>"
        )
        yield drawn(figures.leaks(leaking, main), 60 + int(1.4 * figures.bars_height(leaking)))
    curved = [row for row in arms if sum("valid" in entry for entry in row["curve"]) > 1]
    if curved:
        shown = _best(curved, main)
        yield f"<h3>How they learn</h3><p>First seed.{_left_out(curved, shown)}</p>"
        yield drawn(figures.learning_curves(shown, experiment["valid_metric"]))
    yield from _sweeps(rows, main, drawn)
    if any(row["recovered"] is not None for row in rows):
        yield "<h3>Hidden positives</h3>"
        yield (
            "<p>Some train pairs were hidden on purpose, so they look unobserved though the users have them. Share of "
            "them that is recommended:</p>"
        )
        found = [row for row in rows if row["recovered"] is not None]
        yield table(["arm", "recovered"], [[row["arm"], f"{row['recovered']:.2%}"] for row in found])
    shown = _best(rows, main)
    yield f"<h3>For whom?</h3><p>Users in four groups by the length of their history.{_left_out(rows, shown)}</p>"
    yield drawn(figures.user_groups(shown, main), 520)
    yield "<h3>Which items are found?</h3><p>The pairs to be found in five groups by the popularity of the item.</p>"
    yield drawn(figures.item_groups(shown), 520)
    yield "<h3>What is recommended?</h3>"
    yield "<p>To the right: more of the catalogue is recommended to somebody. Higher: more popular items are.</p>"
    yield drawn(figures.spread(shown), 520)


def _further_tests(rows: list[dict[str, Any]], split: str, content: dict[str, Any]) -> Iterator[str]:
    """Against margins and of named pairs; and test of what validation chose."""
    names = content["experiment"]["metrics"]
    if any(row["margins"] for row in rows):
        yield f"<h3>By more than a margin?</h3><p>{ABOUT_MARGINS}.</p>"
        yield table(*margins_table(rows))
    pairs = [pair for pair in content["pairs"] if pair["split"] == split]
    if pairs:
        yield "<h3>Named pairs</h3>"
        yield table(*pairs_table(pairs, names))
    chosen = [row for row in content.get("chosen", []) if row["split"] == split]
    if chosen:
        yield "<h3>Test, of what validation chose</h3>"
        yield table(*chosen_table(chosen, names))


def _sweeps(rows: list[dict[str, Any]], main: str, drawn: Drawn) -> Iterator[str]:
    swept = [row for row in rows if row["swept"]]
    for key in dict.fromkeys(key for row in swept for key in row["swept"]):
        along = [row for row in swept if key in row["swept"]]
        if len({str(row["swept"][key]) for row in along}) > 1:
            yield f"<h3>Sensitivity to {html.escape(key)}</h3>"
            yield drawn(figures.sweep(along, key, main))


def _preparation(arm: str, found: dict[str, Any], drawn: Drawn) -> Iterator[str]:
    yield f"<h2>Before training: what was found for {html.escape(arm)}</h2>"
    yield lines(found["summary"])
    for name, about in (
        ("structure", "items that the same users have lie together"),
        ("semantic", "items that the teacher sees as alike lie together"),
    ):
        yield f"<h3>The {name} tree: {about}</h3>"
        yield "<p>A part shows its two most popular items. Click it to open it; the middle leads back.</p>"
        yield drawn(figures.tree(found["trees"][name]), 560)
    yield "<h3>When does the judge call a candidate a false negative?</h3>"
    yield drawn(figures.overlap(found["overlap"]))
    yield "<h3>Do the judge's probabilities come true?</h3>"
    yield (
        "<p>Of the candidates given about the same probability, the share that are validation pairs. Most false "
        "negatives never show up in so small a part of the data, so look at whether the line rises, not how high it "
        "is. Validation pairs were looked at only after training, for this figure.</p>"
    )
    yield drawn(figures.reliability(found["reliability"]))
    if found["examples"]:
        yield "<h3>Examples</h3>"
        yield "<p>Items that were added as positives, with the teacher's rank and the judge's probability.</p>"
        cells = []
        for example in found["examples"]:
            added = "; ".join(_relabelled(item) for item in example["relabelled"])
            has = "; ".join(map(str, example["has"]))
            cells.append([f"{example['user']} ({example['history']} items)", has, added])
        yield table(["user", "some items of the history", "relabelled as positive"], cells, words=True)


def _relabelled(item: dict[str, Any]) -> str:
    sure = "" if item["probability"] is None else f", probability {item['probability']:.2f}"
    return f"{item['item']} (rank {item['rank']}{sure})"


def _best(rows: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """As many as one can tell apart, in their order."""
    chosen = sorted(rows, key=lambda row: -measured(row)[metric]["mean"])[:_MOST_LINES]
    return [row for row in rows if row in chosen]


def _left_out(rows: list[dict[str, Any]], shown: list[dict[str, Any]]) -> str:
    return f" Shown are the {len(shown)} best of {len(rows)} arms." if len(shown) < len(rows) else ""
