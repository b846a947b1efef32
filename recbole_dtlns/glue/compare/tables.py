"""The tables of a comparison, from the plain data of comparison.json."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


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
        counts = f"{test['wins']}/{test['ties']}/{test['losses']}" if test else ""
        seconds = "" if row["seconds_per_epoch"] is None else f"{row['seconds_per_epoch']:.2f}"
        epoch = "" if row["best_epoch"] is None or row["reference"] else f"{row['best_epoch'] + 1:.0f}"
        cells.append(
            [_title(row), _over_seeds(row["valid"]), *(_value(row, name) for name in names), counts, seconds, epoch]
        )
    return head, cells


def markdown(content: dict[str, Any]) -> list[str]:
    """The comparison as lines of Markdown."""
    experiment = content["experiment"]
    names = experiment["metrics"]
    lines = [f"# {experiment['name']}: {experiment['about'] or experiment['dataset']}", ""]
    lines += [
        f"Data set {experiment['dataset']}; seeds {', '.join(map(str, experiment['seeds']))}; the epoch is chosen by "
        f"{experiment['valid_metric']} on validation, test is read once; all items are ranked, only observed ones are "
        "masked.",
        f"Mean ± standard deviation over seeds. In brackets the change against {experiment['baseline']}; * p < .05, ** "
        f"p < .01: {experiment['test']} test paired by user, two-sided, Holm-corrected over all tests of a split.",
    ]
    for split in experiment["splits"]:
        rows = [row for row in content["rows"] if row["split"] == split]
        lines += ["", f"## Split: {split} ({experiment['users'][split]} test users)", ""]
        head, cells = results_table(rows, names, experiment["valid_metric"])
        lines += _aligned([head, *cells])
        if any(row["authors_mask"] for row in rows):
            lines += ["", "### LEAKING: the same models under the published evaluation mask, no results", ""]
            lines += _leaks(rows, names)
    if experiment["finished"] < experiment["runs"]:
        lines += ["", f"{experiment['runs'] - experiment['finished']} of {experiment['runs']} runs are missing."]
    return lines


def _leaks(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    cells = [["", *names]]
    for row in rows:
        if row["authors_mask"]:
            own = []
            for name in names:
                leaking, honest = row["authors_mask"][name]["mean"], row["test"][name]["mean"]
                own.append(f"{leaking:.4f} ({leaking / honest - 1:+.1%})" if honest else f"{leaking:.4f}")
            cells.append([row["arm"], *own])
    return _aligned(cells)


def _aligned(cells: list[list[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    lines = [f"| {' | '.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return [lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]]


def _title(row: dict[str, Any]) -> str:
    return f"LEAKING: {row['arm']}" if row["leaking"] else row["arm"]


def _value(row: dict[str, Any], name: str) -> str:
    value, test = row["test"][name], row["tests"].get(name)
    text = _over_seeds(value)
    if not test or test["relative"] is None:
        return text
    return f"{text} ({test['relative']:+.1%}{_stars(test['p_holm'])})"


def _over_seeds(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return ""
    return f"{value['mean']:.4f}" + (f" ± {value['sd']:.4f}" if value["sd"] is not None else "")


def _stars(p: float) -> str:
    return "**" if p < 0.01 else "*" if p < 0.05 else ""
