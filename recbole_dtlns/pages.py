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
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
.words td {{ text-align: left; white-space: normal; min-width: 8rem; vertical-align: top; }}
p, li {{ line-height: 1.5; }}
h2 {{ margin-top: 2.5rem; }}
pre {{ background: #f6f6f6; padding: .7rem; overflow-x: auto; }}
@media (max-width: 600px) {{ th:first-child, td:first-child {{ white-space: normal; min-width: 7rem; }} }}
.warning {{ border-left: 4px solid #c00; padding-left: .8rem; }}
</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(title: str, body: str) -> str:
    """A page that needs nothing but itself.

    Args:
        title: plain text.
        body: HTML; figures by `draw`, tables by `table`.
    """
    return _PAGE.format(title=html.escape(title), plotly=get_plotlyjs(), body=body)


def draw(figure: go.Figure, name: str, height: int = 480) -> str:
    """A figure as part of a page; as wide as the page is.

    Args:
        figure: its layout is completed.
        name: the id of its element, once on a page.
        height: in pixels.
    """
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 30 if figure.layout.title.text else 10, "b": 10},
        legend={"orientation": "h", "yanchor": "top", "y": -90 / height},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return str(
        figure.to_html(
            full_html=False, include_plotlyjs=False, div_id=name, config={"responsive": True, "displayModeBar": False}
        )
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: bool = False) -> str:
    """A table that scrolls where the page is too narrow for it.

    Args:
        head, rows: plain text.
        words: whether cells hold sentences, which wrap, instead of numbers.
    """
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    kind = ' class="words"' if words else ""
    return f'<div class="scroll"><table{kind}>\n' + "\n".join(lines) + "\n</table></div>"


def wrapped(text: str, width: int = 22) -> str:
    """A label in lines short enough for a phone."""
    return "<br>".join(textwrap.wrap(html.escape(text), width)) or text
