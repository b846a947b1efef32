"""The tables of a comparison, from the plain data of comparison.json."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
VALIDATION_ALONE = (
    "and so are the arms: all figures are validation's, which flatters what it chose; test is read of the chosen alone"
)
ABOUT_MARGINS = (
    "Change against the baseline with its bootstrap interval over users; p says how likely such a change is where the "
    "true one is at most the margin, and counts among the tests that are corrected together"
)


def measured(row: Row) -> dict[str, dict[str, Any]]:
    """Of a row, the mean, deviation and values by seed of every metric, on the part of the data that was ranked."""
    return row[row["measured"]]


def main_metric(names: list[str], valid_metric: str) -> str:
    """The one that a figure shows."""
    return valid_metric.lower() if valid_metric.lower() in names else names[0]


def about_seeds(experiment: dict[str, Any]) -> str:
    """What the seeds drove, and so what a deviation over them holds."""
    alone = {
        ("run",): ", of the run; the preparation's is the same in all",
        ("preparation",): ", of the preparation; the run's is the same in all",
    }.get(tuple(experiment["vary"]), ", of run and preparation")
    return ", ".join(map(str, experiment["seeds"])) + alone


def about_tests(experiment: dict[str, Any], split: str) -> str:
    """How many tests a split has, and how each was made."""
    made = experiment["tests"][split]
    flips = f", up to {made['flips']:,} sign flips each" if experiment["test"] == "permutation" else ""
    return (
        f"{experiment['test']} test paired by user{flips}; Holm-corrected over all {made['tests']} tests of the split"
    )


def margins_table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the tests against a margin."""
    head = ["arm", "metric", "change", "95 % interval", "margin", "p, one-sided"]
    cells = []
    for row in rows:
        for name, test in row["margins"].items():
            change = "" if test["relative"] is None else f"{test['relative']:+.2%}"
            interval = "" if test["low"] is None else f"{test['low']:+.2%} to {test['high']:+.2%}"
            p = f"{test['p_holm']:.2g}{_stars(test['p_holm'])}"
            cells.append([row["arm"], name, change, interval, f"{test['margin']:+.2%}", p])
    return head, cells


def pairs_table(pairs: list[Row], names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the tests of named pairs: the change of the first against the second."""
    head = ["arm", "against", *names, f"better/equal/worse {names[0]}"]
    cells = [
        [
            pair["arm"],
            pair["against"],
            *(_change(pair["tests"][name]) for name in names),
            _counts(pair["tests"][names[0]]),
        ]
        for pair in pairs
    ]
    return head, cells


def chosen_table(chosen: list[Row], names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the arms that validation chose, on test."""
    return ["arm", *names], [[row["arm"], *(_over_seeds(row["test"][name]) for name in names)] for row in chosen]


def results_table(rows: list[Row], names: list[str], valid_metric: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the main table: every metric with its deviation over seeds and its change against the baseline.

    Args:
        rows: of one split.
        names: of the metrics.
        valid_metric: what the epoch was chosen by.
    """
    head = ["arm", f"{valid_metric} on validation", *names, f"better/equal/worse {names[0]}", "s/epoch", "best epoch"]
    cells = []
    for row in rows:
        test = row["tests"].get(names[0])
        counts = _counts(test) if test else ""
        seconds = "" if row["seconds_per_epoch"] is None else f"{row['seconds_per_epoch']:.2f}"
        epoch = "" if row["best_epoch"] is None or row["reference"] else f"{row['best_epoch'] + 1:.0f}"
        cells.append(
            [_title(row), _over_seeds(row["valid"]), *(_value(row, name) for name in names), counts, seconds, epoch]
        )
    return head, cells


def markdown(content: dict[str, Any]) -> list[str]:
    """The comparison as lines of Markdown."""
    experiment = content["experiment"]
    names, on_test = experiment["metrics"], experiment["measured"] == "test"
    lines = [f"# {experiment['name']}: {experiment['about'] or experiment['dataset']}", ""]
    lines += [
        f"Data set {experiment['dataset']}; seeds {about_seeds(experiment)}; the epoch is chosen by "
        f"{experiment['valid_metric']} on validation, {'test is read once' if on_test else VALIDATION_ALONE}; all "
        "items are ranked, only observed ones are masked.",
        f"Mean ± standard deviation over seeds. In brackets the change against {experiment['baseline']}; * p < .05, ** "
        "p < .01, two-sided, if nothing else is said.",
    ]
    for split in experiment["splits"]:
        rows = [row for row in content["rows"] if row["split"] == split]
        lines += ["", f"## Split: {split} ({experiment['users'][split]} {experiment['measured']} users)", ""]
        if experiment["tests"][split]["tests"]:
            lines += [f"{_capital(about_tests(experiment, split))}.", ""]
        lines += _aligned(results_table(rows, names, experiment["valid_metric"]))
        lines += _listed([f"{row['arm']}: {text}." for row in rows for text in row["warnings"]])
        if any(row["margins"] for row in rows):
            lines += ["", "### By more than a margin?", "", f"{ABOUT_MARGINS}.", "", *_aligned(margins_table(rows))]
        pairs = [pair for pair in content["pairs"] if pair["split"] == split]
        if pairs:
            lines += ["", "### Named pairs", "", *_aligned(pairs_table(pairs, names))]
        chosen = [row for row in content.get("chosen", []) if row["split"] == split]
        if chosen:
            lines += ["", "### Test, of what validation chose", "", *_aligned(chosen_table(chosen, names))]
        if any(row["authors_mask"] for row in rows):
            lines += ["", "### LEAKING: the same models under the published evaluation mask, no results", ""]
            lines += _aligned(_leaks(rows, names))
    if experiment["finished"] < experiment["runs"]:
        lines += ["", f"{experiment['runs'] - experiment['finished']} of {experiment['runs']} runs are missing."]
    return lines


def _leaks(rows: list[Row], names: list[str]) -> tuple[list[str], list[list[str]]]:
    cells = []
    for row in rows:
        if row["authors_mask"]:
            own = []
            for name in names:
                leaking, honest = row["authors_mask"][name]["mean"], row["test"][name]["mean"]
                own.append(f"{leaking:.4f} ({leaking / honest - 1:+.1%})" if honest else f"{leaking:.4f}")
            cells.append([row["arm"], *own])
    return ["", *names], cells


def _listed(texts: list[str]) -> list[str]:
    return ["", *(f"- {text}" for text in texts)] if texts else []


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _aligned(table: tuple[list[str], list[list[str]]]) -> list[str]:
    cells = [table[0], *table[1]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    lines = [f"| {' | '.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return [lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]]


def _title(row: dict[str, Any]) -> str:
    return f"LEAKING: {row['arm']}" if row["leaking"] else row["arm"]


def _value(row: dict[str, Any], name: str) -> str:
    text, test = _over_seeds(measured(row)[name]), row["tests"].get(name)
    if not test or test["relative"] is None:
        return text
    return f"{text} ({_change(test)})"


def _change(test: dict[str, Any]) -> str:
    return "" if test["relative"] is None else f"{test['relative']:+.1%}{_stars(test['p_holm'])}"


def _counts(test: dict[str, Any]) -> str:
    return f"{test['wins']}/{test['ties']}/{test['losses']}"


def _over_seeds(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return ""
    return f"{value['mean']:.4f}" + (f" ± {value['sd']:.4f}" if value["sd"] is not None else "")


def _stars(p: float) -> str:
    return "**" if p < 0.01 else "*" if p < 0.05 else ""
