"""The figures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from recbole_dtlns.reports.pages import wrapped
from recbole_dtlns.studies.compare.cell_result import ItemGroup
from recbole_dtlns.studies.compare.comparison import Row, UserGroup
from recbole_dtlns.studies.compare.explanation import Level, Node, Stated

_PER_ROW = 46  # pixels of a bar and its label
_LEGEND = 40  # characters of a line in a legend or a title


def bars_height(rows: Sequence[Row]) -> int:
    """Pixels for one bar per row."""
    return 110 + _PER_ROW * len(rows)


def values(rows: Sequence[Row], metric: str) -> go.Figure:
    """A metric of every arm, with the deviation over seeds."""
    figure = go.Figure(
        go.Bar(
            x=[row.mean(metric) for row in rows],
            y=_names(rows),
            error_x={"array": [row.metrics[metric].sd or 0 for row in rows]},
            text=[f"{row.mean(metric):.4f}" for row in rows],
            textposition="inside",
            insidetextanchor="start",
            orientation="h",
            marker_color=["#b9c4d0" if row.reference else "#c0504d" if row.leaking else "#4c78a8" for row in rows],
        )
    )
    title = f"{metric} on {rows[0].measured}"
    figure.update_layout(yaxis={"autorange": "reversed"}, xaxis={"title": title, "rangemode": "tozero"})
    return figure


def differences(rows: Sequence[Row], metric: str, baseline: str) -> go.Figure:
    """Difference to the baseline with its bootstrap interval; filled where it is significant."""
    tested = [row for row in rows if metric in row.tests]
    tests = [row.tests[metric] for row in tested]
    figure = go.Figure(
        go.Scatter(
            x=[test.difference for test in tests],
            y=_names(tested),
            mode="markers",
            marker={
                "size": 12,
                "color": "#4c78a8",
                "symbol": ["circle" if test.p_holm < 0.05 else "circle-open" for test in tests],
            },
            error_x={
                "symmetric": False,
                "array": [test.high - test.difference for test in tests],
                "arrayminus": [test.difference - test.low for test in tests],
            },
            hovertext=[f"p {test.p_holm:.2g} after Holm" for test in tests],
        )
    )
    figure.add_vline(x=0, line_dash="dash", line_color="grey")
    figure.update_layout(
        yaxis={"autorange": "reversed"},
        xaxis={"title": wrapped(f"{metric}: difference to {baseline}", 34), "nticks": 5},
    )
    return figure


def learning_curves(rows: Sequence[Row], metric: str) -> go.Figure:
    """Validation metric by epoch, first seed."""
    figure = go.Figure()
    for row in rows:
        evaluated = [(epoch.epoch, epoch.valid or {}) for epoch in row.curve]
        points = {epoch: valid[metric.lower()] for epoch, valid in evaluated if metric.lower() in valid}
        if len(points) > 1:
            figure.add_scatter(
                x=[epoch + 1 for epoch in points],
                y=list(points.values()),
                name=wrapped(row.arm, _LEGEND),
                mode="lines",
            )
    figure.update_layout(xaxis={"title": "epoch"}, yaxis={"title": f"{metric} on validation"})
    return figure


def sweep(rows: Sequence[Row], key: str, metric: str) -> go.Figure:
    """A metric along a swept key; one line per combination of the other swept keys."""
    lines: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        swept = row.swept or {}
        others = ", ".join(f"{name.removeprefix('dtlns_')} {value}" for name, value in swept.items() if name != key)
        lines.setdefault(others or metric, []).append((swept[key], row))
    figure = go.Figure()
    for name, points in lines.items():
        figure.add_scatter(
            x=[str(value) for value, _ in points],
            y=[row.mean(metric) for _, row in points],
            error_y={"array": [row.metrics[metric].sd or 0 for _, row in points]},
            name=wrapped(name, _LEGEND),
            mode="lines+markers",
            showlegend=len(lines) > 1,
        )
    figure.update_layout(xaxis={"title": key, "type": "category"}, yaxis={"title": f"{metric} on {rows[0].measured}"})
    return figure


def leaks(rows: Sequence[Row], metric: str) -> go.Figure:
    """The same models under the honest and under the published mask."""
    figure = go.Figure()
    for title, means, colour in (
        ("only observed items masked", [row.mean(metric) for row in rows], "#4c78a8"),
        ("LEAKING", [row.authors_mask[metric].known for row in rows], "#c0504d"),
    ):
        figure.add_bar(
            x=means,
            y=_names(rows),
            orientation="h",
            name=title,
            marker_color=colour,
        )
    figure.update_layout(yaxis={"autorange": "reversed"}, xaxis={"title": f"{metric} on test"}, barmode="group")
    return figure


def user_groups(rows: Sequence[Row], metric: str) -> go.Figure:
    """A metric by the length of the users' train histories."""
    groups = {row.arm: {_range(group): group.metrics[metric] for group in row.user_groups} for row in rows}
    figure = _by_group(groups, "train items of a user")
    figure.update_layout(yaxis={"title": metric, "rangemode": "tozero"})
    return figure


def item_groups(rows: Sequence[Row]) -> go.Figure:
    """Share of the pairs found, by the popularity of their items."""
    groups = {row.arm: {_range(group): group.found for group in row.item_groups} for row in rows}
    figure = _by_group(groups, "train users of an item")
    figure.update_layout(
        yaxis={"title": f"share of {rows[0].measured} pairs found", "tickformat": ".0%", "rangemode": "tozero"}
    )
    return figure


def _by_group(by_arm: dict[str, dict[str, float]], counted: str) -> go.Figure:
    """A line per arm over its groups; their bounds differ where an arm hides train pairs, and stand in the labels."""
    figure = go.Figure()
    for arm, groups in by_arm.items():
        figure.add_scatter(
            x=list(range(len(groups))),
            y=list(groups.values()),
            text=[f"{counted}: {bounds}" for bounds in groups],
            name=wrapped(arm, _LEGEND),
            mode="lines+markers",
        )
    named, first = next(iter(by_arm.items()))
    if any(list(groups) != list(first) for groups in by_arm.values()):
        counted = wrapped(f"{counted}, {named}", _LEGEND)
    figure.update_layout(xaxis={"title": counted, "tickvals": list(range(len(first))), "ticktext": list(first)})
    return figure


def spread(rows: Sequence[Row]) -> go.Figure:
    """How much of the catalogue is recommended, and how popular the recommended items are."""
    figure = go.Figure()
    for row in rows:
        figure.add_scatter(
            x=[row.spread.coverage],
            y=[row.spread.popularity],
            name=wrapped(row.arm, _LEGEND),
            marker={"size": 12},
        )
    figure.update_traces(mode="markers")
    figure.update_layout(
        xaxis={"title": "share of items recommended", "tickformat": ".0%", "rangemode": "tozero"},
        yaxis={"title": "mean train users of a recommended item", "rangemode": "tozero"},
    )
    return figure


def tree(nodes: Sequence[Node]) -> go.Figure:
    """An item tree that opens level by level."""
    figure = go.Figure(
        go.Sunburst(
            ids=[node.path or "root" for node in nodes],
            labels=["<br>".join(wrapped(str(name), 16) for name in node.some[:2]) or "all items" for node in nodes],
            parents=["" if node.parent is None else node.parent or "root" for node in nodes],
            values=[node.items for node in nodes],
            branchvalues="total",
            customdata=[
                [node.path or "root", "<br>".join(wrapped(str(name), 40) for name in node.some)] for node in nodes
            ],
            hovertemplate="%{customdata[0]}: %{value} items<br>%{customdata[1]}<extra></extra>",
            maxdepth=3,
        )
    )
    figure.update_layout(uniformtext={"minsize": 9, "mode": "hide"})
    return figure


def overlap(by_tree: dict[str, list[Level]]) -> go.Figure:
    """Share of candidates called positive, by their similarity to the user's history."""
    figure = go.Figure()
    for name, levels in by_tree.items():
        figure.add_scatter(
            x=[level.similarity for level in levels],
            y=[level.positive for level in levels],
            text=[f"{level.candidates} candidates" for level in levels],
            name=f"{name} tree",
            mode="lines+markers",
        )
    figure.update_layout(
        xaxis={"title": "similarity to the user's nearest item", "range": [-0.03, 1.03]},
        yaxis={"title": "share called positive", "tickformat": ".0%", "range": [-0.03, 1.03]},
    )
    return figure


def reliability(bins: Sequence[Stated]) -> go.Figure:
    """Stated probability against the share of candidates that are validation pairs."""
    figure = go.Figure(
        go.Scatter(
            x=[point.stated for point in bins],
            y=[point.found for point in bins],
            text=[f"{point.candidates} candidates" for point in bins],
            mode="lines+markers",
        )
    )
    figure.update_layout(
        xaxis={"title": "probability stated by the judge", "rangemode": "tozero"},
        yaxis={"title": "share that are validation pairs", "tickformat": ".1%", "rangemode": "tozero"},
    )
    return figure


def _names(rows: Sequence[Row]) -> list[str]:
    return [wrapped(("LEAKING: " if row.leaking else "") + row.arm) for row in rows]


def _range(group: UserGroup | ItemGroup) -> str:
    least, most = round(group.least), round(group.most)
    return str(least) if least == most else f"{least}-{most}"
