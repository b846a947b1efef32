"""The page of a comparison: it needs no network, and a browser draws every plot, on a desktop and on a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.glue.compare.report import write_report
from recbole_dtlns.glue.compare.results import Comparison

Finished = tuple[Path, Comparison, list[str]]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
# What each plot drew, and how wide the page is, written into the page's title once all is drawn.
PROBE = """
<script>
window.onload = () => setTimeout(() => {
  const drawn = [...document.querySelectorAll('.plotly-graph-div')].map(plot => ({
    id: plot.id,
    marks: plot.querySelectorAll('.point, .points path, .js-line, .slice, .trace path').length,
    width: plot.querySelector('.main-svg')?.getBoundingClientRect().width ?? 0,
  }));
  const page = {drawn, wide: document.documentElement.scrollWidth, shown: window.innerWidth};
  document.title = 'PROBE' + JSON.stringify(page);
}, 1500);
</script>
"""


@pytest.fixture(scope="module")
def report(finished: Finished) -> Path:
    return write_report([finished[1].folder])


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser to draw with: none of {', '.join(BROWSERS)} is installed")
    return found


def browse(browser: str, page: Path, profile: Path, *options: str) -> str:
    command = [browser, *OPTIONS, f"--user-data-dir={profile}", "--virtual-time-budget=8000", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_page_needs_nothing_but_itself(report: Path) -> None:
    text = re.sub(r"<script[^>]*>.*?</script>", "", report.read_text(), flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="[^"]*"', text)
    assert "http" not in text


def test_what_the_user_wrote_is_shown_as_written(report: Path) -> None:
    assert "does it &lt;work&gt;?" in report.read_text()


def test_every_part_is_there(report: Path) -> None:
    headings = re.findall(r"<h[23]>(.*?)</h[23]>", report.read_text())
    expected = (
        "What was run",
        "Results, split: given",
        "Is the difference real?",
        "What the published evaluation would claim",
        "How they learn",
        "Sensitivity to dtlns_alpha_co",
        "Hidden positives",
        "For whom?",
        "Which items are found?",
        "What is recommended?",
        "When does the judge call a candidate a false negative?",
        "Do the judge's probabilities come true?",
        "Examples",
    )
    assert [heading for heading in expected if heading not in headings] == []
    assert sum("tree:" in heading for heading in headings) == 2


@pytest.mark.parametrize("width", [1280, 390])
def test_every_plot_is_drawn(report: Path, browser: str, tmp_path: Path, width: int) -> None:
    """In a frame as wide as the screen: a browser without a window is never as narrow as a phone."""
    probed = report.with_name(f"probed-{width}.html")
    probed.write_text(report.read_text().replace("</body>", f"{PROBE}</body>"))
    frame = report.with_name(f"frame-{width}.html")
    frame.write_text(
        f'<body style="margin:0"><iframe id="it" src="{probed.name}" style="border:0;width:{width}px;height:9000px">'
        "</iframe><script>setInterval(() => { document.title = document.getElementById('it').contentDocument.title },"
        " 100)</script></body>"
    )
    options = ("--allow-file-access-from-files", f"--window-size={max(width, 600)},9000")
    title = re.search(r"<title>PROBE(.*?)</title>", browse(browser, frame, tmp_path / "a", *options, "--dump-dom"))
    assert title, "the page's scripts did not run to their end"
    page = json.loads(title[1])
    plots = len(re.findall(r'class="plotly-graph-div"', report.read_text()))
    assert len(page["drawn"]) == plots >= 12
    assert [plot["id"] for plot in page["drawn"] if plot["marks"] == 0] == []
    assert max(plot["width"] for plot in page["drawn"]) <= page["shown"]
    assert page["wide"] <= page["shown"] == width, "the page scrolls sideways"

    picture = tmp_path / "page.png"
    browse(browser, frame, tmp_path / "b", *options, f"--screenshot={picture}")
    assert picture.stat().st_size > 50_000, "the picture is empty"


def test_several_comparisons_make_one_page(finished: Finished, tmp_path: Path) -> None:
    folder = finished[1].folder
    page = write_report([folder, folder], tmp_path / "both.html").read_text()
    ids = re.findall(r'<div id="(figure-\d+)"', page)
    assert len(ids) == len(set(ids)) >= 24


def test_a_folder_without_a_comparison_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no finished comparison.*recbole-dtlns compare"):
        write_report([tmp_path])
