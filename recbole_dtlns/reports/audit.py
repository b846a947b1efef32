"""An audit as one HTML page that opens offline."""

from __future__ import annotations

import plotly.graph_objects as go

from recbole_dtlns.judges.audit import Audit
from recbole_dtlns.reports.pages import draw, page, table

_BODY = """
<p>{hidden} positives of the train split were hidden, and teacher, trees and candidates were made without them.
{reachable} of them came back among the {candidates} candidates ({base:.2%}): the false negatives whose answer is known.
Every judge was asked about all candidates. The other candidates are unobserved, not known negatives, so precision is a
lower bound; compare it with that of <i>always</i>.</p>
{remark}
{table}
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
    heights = {"auc": 140 + 32 * len(names), "agreement": 260 + 36 * len(names)}
    body = _BODY.format(
        hidden=audit.hidden,
        reachable=audit.reachable,
        candidates=audit.candidates,
        base=audit.reachable / audit.candidates,
        remark=f"<p>The judges were {audit.remark()}.</p>" if audit.trees_not_read else "",
        table=_table(audit),
        **{name: draw(figure, name, heights.get(name, 480)) for name, figure in figures.items()},
    )
    return page("Which judge finds false negatives?", body)


def _diagonal(end: float) -> go.Scatter:
    return go.Scatter(
        x=[0, end], y=[0, end], mode="lines", line={"dash": "dash", "color": "grey"}, showlegend=False, hoverinfo="skip"
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
    return table(head, rows)
