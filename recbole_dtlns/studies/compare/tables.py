"""The tables of a comparison."""

from __future__ import annotations

from recbole_dtlns.evaluation.bounded_groups import Bounds
from recbole_dtlns.studies.compare.comparison import (
    Change,
    Choice,
    Chosen,
    Comparison,
    Grouped,
    GroupKind,
    Head,
    NamedPair,
    OverSeeds,
    Refitted,
    Row,
    Varied,
)

VALIDATION_ALONE = (
    "and so are the arms: all figures are validation's, which flatters what it chose; test is read of the chosen alone"
)
ABOUT_REFITS = (
    "The same arms, trained anew on train and validation for as many epochs as validation had chosen, as models that "
    "are used are, and as papers that train on all but test have it. They have seen more than the models above: "
    "nothing here is tested against those. In brackets the change against the same arm on train alone"
)
ABOUT_MARGINS = (
    "Change against the baseline with its bootstrap interval over users; p says how likely such a change is where the "
    "true one is at most the margin, and counts among the tests that are corrected together"
)

GROUPS: dict[GroupKind, tuple[str, str]] = {
    "history": ("By length of history", "Users by the number of their train pairs"),
    "popularity": (
        "By popularity of the item",
        "Pairs to be found, by the number of train pairs of their item: the share of them that is recommended",
    ),
}
ABOUT_GROUPS = (
    "In brackets the change against the baseline, tested by user; Holm-corrected over all groups and metrics of the "
    "split, apart from the tests above"
)


def main_metric(names: list[str], valid_metric: str) -> str:
    """The one that a figure shows."""
    return valid_metric.lower() if valid_metric.lower() in names else names[0]


def about_seeds(experiment: Head) -> str:
    """What the seeds drove, and so what a deviation over them holds."""
    alone: dict[tuple[Varied, ...], str] = {
        ("run",): ", of the run; the preparation's is the same in all",
        ("preparation",): ", of the preparation; the run's is the same in all",
    }
    return ", ".join(map(str, experiment.seeds)) + alone.get(tuple(experiment.vary), ", of run and preparation")


def about_tests(experiment: Head, split: str) -> str:
    """How many tests a split has, and how each was made."""
    made = experiment.tests[split]
    flips = f", up to {made.flips:,} sign flips each" if experiment.test == "permutation" else ""
    return f"{experiment.test} test paired by user{flips}; Holm-corrected over all {made.tests} tests of the split"


def margins_table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the tests against a margin."""
    head = ["arm", "metric", "change", "95 % interval", "margin", "p, one-sided"]
    cells = []
    for row in rows:
        for name, test in row.margins.items():
            change = "" if test.relative is None else f"{test.relative:+.2%}"
            interval = "" if test.low is None else f"{test.low:+.2%} to {test.high:+.2%}"
            p = f"{test.p_holm:.2g}{_stars(test.p_holm)}"
            cells.append([row.arm, name, change, interval, f"{test.margin:+.2%}", p])
    return head, cells


def pairs_table(pairs: list[NamedPair], names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the tests of named pairs: the change of the first against the second."""
    head = ["arm", "against", *names, f"better/equal/worse {names[0]}"]
    cells = [
        [
            pair.arm,
            pair.against,
            *(_change(pair.tests[name]) for name in names),
            _counts(pair.tests[names[0]]),
        ]
        for pair in pairs
    ]
    return head, cells


ABOUT_CHOICES = (
    "Settings that the experiment leaves to validation. All that were tried, and in the tables above stand the chosen "
    "ones alone; test was not looked at to choose. Where the smallest or largest value was best, others beyond it may "
    "be better"
)


def choices_table(choices: list[Choice], valid_metric: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the settings among which validation chose, by arm, the best first."""
    cells = []
    for choice in choices:
        ends = [f"{key} is the {which}" for key, which in choice.ends.items()]
        for one in choice.tried:
            settings = ", ".join(f"{key}: {value}" for key, value in one.settings.items())
            said = "; ".join(["chosen", *ends]) if one.settings == choice.settings else ""
            cells.append([choice.arm, settings, _over_seeds(one.valid), said])
    return ["arm", "settings", f"{valid_metric} on validation", ""], cells


def chosen_table(chosen: list[Chosen], names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the arms that validation chose, on test."""
    return ["arm", *names], [[one.arm, *(_over_seeds(one.test[name]) for name in names)] for one in chosen]


def groups_table(found: Comparison, by: GroupKind) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the arms in every group of one split: main metric, or share of pairs that is found."""
    main = main_metric(found.experiment.metrics, found.experiment.valid_metric)
    metric = main if by == "history" else f"found@{main.partition('@')[2]}"
    groups = [group for group in found.groups or () if group.by == by and group.metric == metric]
    head = [metric, *(f"{Bounds(group.least, group.most).text} ({_size(group)})" for group in groups)]
    arms = [row.arm for row in found.rows if any(row.arm in group.arms for group in groups)]
    return head, [[arm, *(_in_group(group, arm) for group in groups)] for arm in arms]


def _size(group: Grouped) -> str:
    return f"{group.users} users" if group.pairs is None else f"{group.pairs} pairs"


def _in_group(group: Grouped, arm: str) -> str:
    if arm not in group.arms:
        return ""
    test = group.tests.get(arm)
    change = "" if test is None or test.relative is None else f" ({_change(test)})"
    return f"{group.arms[arm]:.4f}{change}"


def refits_table(found: Comparison, names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the refits of one split on test, each with its change against the model on train alone."""
    alone = {row.arm: row.metrics for row in found.rows if row.measured == "test"}
    alone |= {one.arm: one.test for one in found.chosen or ()}

    def value(one: Refitted, name: str) -> str:
        base = alone.get(one.arm, {}).get(name)
        text = _over_seeds(one.test[name])
        return f"{text} ({one.test[name].known / base.known - 1:+.1%})" if base and base.known else text

    cells = []
    for one in found.refits or ():
        epochs = "" if one.reference else ", ".join(map(str, one.epochs))
        cells.append([f"refit: {one.arm}", *(value(one, name) for name in names), epochs])
    return ["arm", *names, "epochs"], cells


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
        test = row.tests.get(names[0])
        counts = _counts(test) if test else ""
        seconds = "" if row.seconds_per_epoch is None else f"{row.seconds_per_epoch:.2f}"
        epoch = "" if row.best_epoch is None or row.reference else f"{row.best_epoch + 1:.0f}"
        cells.append(
            [_title(row), _over_seeds(row.valid), *(_value(row, name) for name in names), counts, seconds, epoch]
        )
    return head, cells


def markdown(found: Comparison) -> str:
    """The comparison as Markdown."""
    about = found.experiment
    names, on_test = about.metrics, about.measured == "test"
    lines = [f"# {about.name}: {about.about or about.dataset}", ""]
    lines += [
        f"Data set {about.dataset}; seeds {about_seeds(about)}; the epoch is chosen by "
        f"{about.valid_metric} on validation, {'test is read once' if on_test else VALIDATION_ALONE}; all "
        "items are ranked, only observed ones are masked.",
        f"Mean ± standard deviation over seeds. In brackets the change against {about.baseline}; * p < .05, ** "
        "p < .01, two-sided, if nothing else is said.",
    ]
    for split in about.splits:
        here = found.of_split(split)
        lines += ["", f"## Split: {split} ({about.users[split]} {about.measured} users)", ""]
        if about.tests[split].tests:
            lines += [f"{_capital(about_tests(about, split))}.", ""]
        lines += _aligned(results_table(here.rows, names, about.valid_metric))
        lines += _listed([f"{row.arm}: {text}." for row in here.rows for text in row.warnings])
        if any(row.margins for row in here.rows):
            lines += ["", "### By more than a margin?", "", f"{ABOUT_MARGINS}.", ""]
            lines += _aligned(margins_table(here.rows))
        if here.pairs:
            lines += ["", "### Named pairs", "", *_aligned(pairs_table(here.pairs, names))]
        for by, (title, about_groups) in GROUPS.items():
            if any(group.by == by for group in here.groups or ()):
                lines += ["", f"### {title}", "", f"{about_groups}. {ABOUT_GROUPS}.", ""]
                lines += _aligned(groups_table(here, by))
        if here.choices:
            lines += ["", "### What validation chose among", "", f"{ABOUT_CHOICES}.", ""]
            lines += _aligned(choices_table(here.choices, about.valid_metric))
        if here.chosen:
            lines += ["", "### Test, of what validation chose", "", *_aligned(chosen_table(here.chosen, names))]
        if here.refits:
            lines += ["", "### REFIT on train and validation, no part of the comparison above", ""]
            lines += [f"{ABOUT_REFITS}.", "", *_aligned(refits_table(here, names))]
        if any(row.authors_mask for row in here.rows):
            lines += ["", "### LEAKING: the same models under the published evaluation mask, no results", ""]
            lines += _aligned(_leaks(here.rows, names))
    if about.finished < about.runs:
        lines += ["", f"{about.runs - about.finished} of {about.runs} runs are missing."]
    return "\n".join(lines)


def _leaks(rows: list[Row], names: list[str]) -> tuple[list[str], list[list[str]]]:
    cells = []
    for row in rows:
        if row.authors_mask:
            own = []
            for name in names:
                leaking, honest = row.authors_mask[name].known, row.metrics[name].known
                own.append(f"{leaking:.4f} ({leaking / honest - 1:+.1%})" if honest else f"{leaking:.4f}")
            cells.append([row.arm, *own])
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


def _title(row: Row) -> str:
    return f"LEAKING: {row.arm}" if row.leaking else row.arm


def _value(row: Row, name: str) -> str:
    text, test = _over_seeds(row.metrics[name]), row.tests.get(name)
    if not test or test.relative is None:
        return text
    return f"{text} ({_change(test)})"


def _change(test: Change) -> str:
    return "" if test.relative is None else f"{test.relative:+.1%}{_stars(test.p_holm)}"


def _counts(test: Change) -> str:
    return f"{test.wins}/{test.ties}/{test.losses}"


def _over_seeds(value: OverSeeds) -> str:
    if value.mean is None:
        return ""
    return f"{value.mean:.4f}" + (f" ± {value.sd:.4f}" if value.sd is not None else "")


def _stars(p: float) -> str:
    return "**" if p < 0.01 else "*" if p < 0.05 else ""
