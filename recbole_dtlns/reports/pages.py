"""Pages of text, tables and plotly figures that are one file, open offline and fit a phone."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
/* A table that is wider than the page shows a shadow on the side where more of it is; its first column stays. */
.scroll {{ overflow-x: auto; background:
  linear-gradient(to left, #fff 2rem, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to left, rgba(0, 0, 0, .35), transparent) right / 1rem 100% no-repeat scroll; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .5rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }}
th:first-child, td:first-child {{ text-align: left; }}
.numbers {{ font-size: .9rem; }}
.numbers th:first-child, .numbers td:first-child {{ position: sticky; left: 0; background: #fff; }}
.words th, .words td {{ text-align: left; overflow-wrap: break-word; min-width: 4rem; }}
p, li {{ line-height: 1.5; }}
h1, h2, h3, p, li, summary {{ overflow-wrap: anywhere; }}
.plotly-graph-div {{ max-width: 100%; }}
h2 {{ margin-top: 2.5rem; }}
.lines {{ background: #f6f6f6; padding: .7rem; font-family: monospace; white-space: pre-wrap; }}
.lines div {{ overflow-wrap: anywhere; padding-left: 2rem; text-indent: -2rem; }}
@media (max-width: 600px) {{ th, td {{ padding: .3rem .4rem; }} .numbers td:first-child {{ min-width: 6rem; }} }}
.warning {{ border-left: 4px solid #c00; padding-left: .8rem; }}
</style>
{plotly}
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(title: str, body: str, figures: bool = True) -> str:
    """A page that needs nothing but itself.

    Args:
        title: plain text.
        body: HTML; figures by `draw`, tables by `table`.
        figures: whether it has any; a page of text is a thousandth as large.
    """
    plotly = f"<script>{get_plotlyjs()}</script>" if figures else ""
    return _PAGE.format(title=html.escape(title), plotly=plotly, body=body)


def draw(figure: go.Figure, name: str, height: int = 480, least: int = 0) -> str:
    """A figure as part of a page; as wide as the page is.

    Args:
        figure: its layout is completed.
        name: the id of its element, once on a page.
        height: in pixels.
        least: width in pixels; where the page is narrower, the figure scrolls.
    """
    margin = {"l": 10, "r": 10, "t": 10, "b": 10} | figure.layout.margin.to_plotly_json()
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="rgba(0, 0, 0, 0)",  # where a figure scrolls, the shadow is below it
        height=height,
        margin=margin,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "xanchor": "left", "x": 0},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"responsive": True, "displayModeBar": False}
    )
    return f'<div class="scroll" tabindex="0"><div style="min-width: {least}px">{drawn}</div></div>' if least else drawn


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: bool = False) -> str:
    """A table that wraps its cells, and scrolls where the page is too narrow for that.

    Args:
        head, rows: plain text.
        words: whether cells hold sentences, to the left, instead of numbers, which break before a bracket only.
    """
    cell = html.escape if words else _number
    parts = ["<tr>" + "".join(f"<th>{html.escape(name).replace('/', '/<wbr>')}</th>" for name in head) + "</tr>"]
    parts += [
        f"<tr><td>{html.escape(row[0])}</td>{''.join(f'<td>{cell(text)}</td>' for text in row[1:])}</tr>"
        for row in rows
    ]
    kind = "words" if words else "numbers"
    return f'<div class="scroll" tabindex="0"><table class="{kind}">\n' + "\n".join(parts) + "\n</table></div>"


def lines(text: str) -> str:
    """Lines as they are; those that are too long for the page go on, indented."""
    return f'<div class="lines">{"".join(f"<div>{html.escape(line)}</div>" for line in text.splitlines())}</div>'


def _number(text: str) -> str:
    return html.escape(text).replace(" ", "&nbsp;").replace("&nbsp;(", " (")


def wrapped(text: str, width: int = 22) -> str:
    """A label for a figure, in lines short enough for a phone; what looks like HTML in it is shown as written."""
    return "<br>".join(html.escape(line) for line in textwrap.wrap(text, width))
