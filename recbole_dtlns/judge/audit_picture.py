"""An audit as one HTML page that opens offline."""

from __future__ import annotations

import html

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from recbole_dtlns.judge.audit import Audit

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit of judges</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
p {{ line-height: 1.5; }}
</style>
<script>{plotly}</script>
</head>
<body>
<h1>Which judge finds false negatives?</h1>
<p>{hidden} positives of the train split were hidden, and teacher, trees and candidates were made without them.
{reachable} of them came back among the {candidates} candidates ({base:.2%}): the false negatives whose answer is known.
Every judge was asked about all candidates. The other candidates are unobserved, not known negatives, so precision is a
lower bound; compare it with that of <i>always</i>.</p>
<div class="scroll">{table}</div>
<h2>Does it rank hidden positives first?</h2>
<p>AUC: the chance that a hidden positive gets a higher probability than another candidate; 0.5 is guessing. Lines
that end in <i>shuffled paths</i> or <i>random paths</i> are the same judge on trees that say nothing: what is left
there does not come from the trees.</p>
{auc}
<h2>How many does it find, and how many pairs does it call positive for that?</h2>
<p>A judge above the diagonal does better than picking as many candidates at random.</p>
{recall}
<h2>Do its probabilities mean what they say?</h2>
<p>Reliability: of the candidates given about the same probability, the share that are hidden positives. On the
diagonal, a stated 10 % comes true one time in ten.</p>
{reliability}
<h2>Which judges agree?</h2>
<p>Share of candidates that get the same label.</p>
{agreement}
</body>
</html>
"""


def audit_page(audit: Audit) -> str:
    """The audit as HTML: the table, AUC, recall against positive rate, reliability curves, agreement."""
    names = list(audit.scores)
    scores = list(audit.scores.values())
    auc = go.Figure(
        go.Bar(x=[score.auc for score in scores], y=names, orientation="h", text=[f"{s.auc:.3f}" for s in scores])
    )
    auc.add_vline(x=0.5, line_dash="dash", line_color="grey")
    auc.update_layout(yaxis={"autorange": "reversed"}, xaxis={"title": "AUC", "range": [0, 1]})

    recall = go.Figure(_diagonal(1.0))
    for name, score in audit.scores.items():
        recall.add_scatter(x=[score.positive_rate], y=[score.recall], name=name, mode="markers", marker={"size": 12})
    recall.update_layout(
        xaxis={"title": "share of candidates called positive", "tickformat": ".0%"},
        yaxis={"title": "share of hidden positives found", "tickformat": ".0%"},
    )

    top = max((max(point) for score in scores for point in score.reliability), default=1.0)
    reliability = go.Figure(_diagonal(top))
    for name, score in audit.scores.items():
        stated, found = zip(*score.reliability, strict=True) if score.reliability else ((), ())
        reliability.add_scatter(x=stated, y=found, name=name, mode="lines+markers")
    reliability.update_layout(
        xaxis={"title": "probability stated"}, yaxis={"title": "share of hidden positives", "rangemode": "tozero"}
    )

    shares = [[audit.agreement[first][second] for second in names] for first in names]
    agreement = go.Figure(
        go.Heatmap(
            z=shares, x=names, y=names, zmin=0, zmax=1, colorscale="Blues", texttemplate="%{z:.0%}", showscale=False
        )
    )
    agreement.update_layout(yaxis={"autorange": "reversed"})
    figures = {"auc": auc, "recall": recall, "reliability": reliability, "agreement": agreement}
    return _PAGE.format(
        plotly=get_plotlyjs(),
        hidden=audit.hidden,
        reachable=audit.reachable,
        candidates=audit.candidates,
        base=audit.reachable / audit.candidates,
        table=_table(audit),
        **{name: _draw(figure, name, len(names)) for name, figure in figures.items()},
    )


def _diagonal(end: float) -> go.Scatter:
    return go.Scatter(
        x=[0, end], y=[0, end], mode="lines", line={"dash": "dash", "color": "grey"}, showlegend=False, hoverinfo="skip"
    )


def _draw(figure: go.Figure, name: str, lines: int) -> str:
    height = {"auc": 140 + 32 * lines, "agreement": 260 + 36 * lines}.get(name, 480)
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": -0.2},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"responsive": True, "displayModeBar": False}
    )


def _table(audit: Audit) -> str:
    head = ["judge", "called positive", "precision", "recall", "AUC", "calibration error", "abstained"]
    rows = [
        [
            name,
            f"{score.positive_rate:.1%}",
            f"{score.precision:.2%}",
            f"{score.recall:.1%}",
            f"{score.auc:.3f}",
            f"{score.calibration_error:.3f}",
            str(score.abstained),
        ]
        for name, score in audit.scores.items()
    ]
    lines = ["<table>", "<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])
