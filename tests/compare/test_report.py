"""The page of a comparison: it needs no network, and a browser draws every plot, on a desktop and on a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import PATIENCE

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.reports.comparison import _arms, write_report
from recbole_dtlns.reports.pages import page, table, wrapped
from recbole_dtlns.reports.search import importance_page, parallel_page
from recbole_dtlns.studies.compare.comparison import Comparison
from recbole_dtlns.studies.tune.plan import Plan
from recbole_dtlns.studies.tune.results import Trial, Trials
from recbole_dtlns.studies.tune.space import Parameter

Finished = tuple[Path, Comparison, list[str]]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
DEMO = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "demo" / "comparison.md"
# What each plot drew, and how wide the page and its tables are, written into the page's title once all is drawn.
PROBE = """
<script>
window.onload = () => setTimeout(() => {
  const drawn = [...document.querySelectorAll('.plotly-graph-div')].map(plot => ({
    id: plot.id,
    marks: plot.querySelectorAll('.point, .points path, .js-line, .slice, .trace path').length,
    width: plot.querySelector('.main-svg')?.getBoundingClientRect().width ?? 0,
    gap: plot.querySelector('.legend') && plot.querySelector('.nsewdrag') &&
      plot.querySelector('.nsewdrag').getBoundingClientRect().top -
      plot.querySelector('.legend').getBoundingClientRect().bottom,
  }));
  const tables = [...document.querySelectorAll('.scroll')].map(around => ({
    text: around.innerText.slice(0, 40),
    hidden: around.scrollWidth - around.clientWidth,
    hinted: getComputedStyle(around).backgroundImage.includes('gradient'),
    aligned: [...around.querySelectorAll('tr')].every(row => [...row.children].every((cell, place) =>
      getComputedStyle(cell).textAlign === getComputedStyle(around.querySelectorAll('th')[place]).textAlign)),
  }));
  const cut = [...document.querySelectorAll('p, li, pre, .lines, .lines div, h1, h2, h3')]
    .filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.innerText.slice(0, 40));
  const page = {drawn, tables, cut, wide: document.documentElement.scrollWidth, shown: window.innerWidth};
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
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


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
        "Sensitivity to dtlns_alpha_structure",
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


def framed(file: Path, width: int) -> tuple[Path, list[str]]:
    """The page in a frame as wide as the screen: a browser without a window is never as narrow as a phone."""
    probed = file.with_name(f"probed-{width}.html")
    probed.write_text(file.read_text().replace("</body>", f"{PROBE}</body>"))
    frame = file.with_name(f"frame-{width}.html")
    frame.write_text(
        f'<body style="margin:0"><iframe id="it" src="{probed.name}" style="border:0;width:{width}px;height:9000px">'
        "</iframe><script>setInterval(() => { document.title = document.getElementById('it').contentDocument.title },"
        " 100)</script></body>"
    )
    return frame, ["--allow-file-access-from-files", f"--window-size={max(width, 600)},9000"]


def probe(browser: str, file: Path, width: int, profile: Path) -> dict[str, Any]:
    """What `PROBE` found on the page."""
    frame, options = framed(file, width)
    title = re.search(r"<title>PROBE(.*?)</title>", browse(browser, frame, profile, *options, "--dump-dom"))
    assert title, "the page's scripts did not run to their end"
    return json.loads(html.unescape(title[1]))


@pytest.mark.parametrize("width", [1280, 390])
def test_every_plot_is_drawn(report: Path, browser: str, tmp_path: Path, width: int) -> None:
    found = probe(browser, report, width, tmp_path / "a")
    plots = len(re.findall(r'class="plotly-graph-div"', report.read_text()))
    assert len(found["drawn"]) == plots >= 12
    assert [plot["id"] for plot in found["drawn"] if plot["marks"] == 0] == []
    assert max(plot["width"] for plot in found["drawn"]) <= found["shown"]
    assert found["wide"] <= found["shown"] == width, "the page scrolls sideways"
    gaps = [plot["gap"] for plot in found["drawn"] if plot["gap"] is not None]
    assert gaps and all(0 <= gap <= 40 for gap in gaps), "a legend lies over its plot, or far from it"
    assert found["cut"] == []
    assert [part["text"] for part in found["tables"] if part["hidden"] > 0 and not part["hinted"]] == []
    assert [part["text"] for part in found["tables"] if not part["aligned"]] == [], "a head that is not over its cells"

    picture = tmp_path / "page.png"
    frame, options = framed(report, width)
    browse(browser, frame, tmp_path / "b", *options, f"--screenshot={picture}")
    assert picture.stat().st_size > 50_000, "the picture is empty"


def test_a_table_of_four_metrics_fits_a_desktop(browser: str, tmp_path: Path) -> None:
    """The demo's."""
    text = DEMO.read_text().partition("\n| arm")[2].partition("\n\n")[0]
    head, _, *rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in f"arm{text}".splitlines()]
    assert len(head) >= 9 and len(rows) >= 6
    file = tmp_path / "demo.html"
    file.write_text(page("The demo", table(head, rows)))
    assert [part["hidden"] for part in probe(browser, file, 1280, tmp_path / "profile")["tables"]] == [0]


def test_pages_of_a_search_fit_a_phone(browser: str, tmp_path: Path) -> None:
    """Or show that they scroll: lines through many axes are wider than a phone."""
    random = np.random.default_rng(0)
    keys = ["learning_rate", "n_layers", "dtlns_alpha_structure", "embedding_size"]
    drawn = [(dict(zip(keys, values, strict=False)), values[-1]) for values in random.random((12, 5)).tolist()]
    ended = tuple(Trial("t", values, score, 1, 1.0, "", None, "t") for values, score in drawn)
    plan = Plan("BPR", "tiny", {}, tuple(Parameter(key, "uniform", (0, 1)) for key in keys))
    trials = Trials(plan, tmp_path, "NDCG@10", True, ended)
    pages = parallel_page(trials), importance_page(trials)
    hidden = []
    for name, text in zip(("parallel", "importance"), pages, strict=True):
        (tmp_path / f"{name}.html").write_text(text)
        found = probe(browser, tmp_path / f"{name}.html", 390, tmp_path / name)
        assert found["wide"] <= found["shown"] and found["cut"] == []
        hidden += [part["hidden"] > 0 and part["hinted"] for part in found["tables"]]
    assert hidden == [True]


def test_names_of_one_long_word_fit_a_phone(browser: str, tmp_path: Path) -> None:
    """Whatever stands in a heading or a sentence: names of arms, keys, files and items have no spaces."""
    name = "of_an_experiment_whose_name_is_longer_than_a_phone_is_wide"
    body = f"<h2>{name}</h2><h3>{name}</h3><p>{name}</p><p class='warning'><b>{name}</b></p><ul><li>{name}</li></ul>"
    file = tmp_path / "long.html"
    file.write_text(page(name, body, figures=False))
    found = probe(browser, file, 390, tmp_path / "profile")
    assert found["wide"] <= found["shown"] == 390 and found["cut"] == []


def test_titles_are_shown_though_no_setting_loads_them(report: Path) -> None:
    """In the examples and in the parts of the trees; what looks like HTML in them is text."""
    text = report.read_text()
    assert "A &amp; B &lt;i0-" in text.partition("<h3>Examples</h3>")[2]
    labels = re.findall(r'"labels":(\[.*?\])', text)
    assert len(labels) >= 2 and all("A &amp; B" in json.loads(found)[1] for found in labels)
    assert "<i0-" not in text and "<i1-" not in text


def test_probabilities_do_not_read_like_p_values(report: Path) -> None:
    examples = report.read_text().partition("<h3>Examples</h3>")[2]
    assert re.search(r"\(rank \d+, probability [01]\.\d\d\)", examples)
    assert not re.search(r", p [01]\.", examples)


def test_a_reference_has_one_name() -> None:
    read = Comparison.read(DEMO.parent).rows
    row = next(row for row in read if row.arm == "Pop")
    assert row.model.endswith(":Popularity")
    assert "Popularity" not in _arms([row])


def test_a_label_is_wrapped_before_it_is_escaped() -> None:
    """Otherwise an entity is cut in two, and its pieces are shown."""
    text = "Tom & Jerry & <Friends> & 'others' && more & more"
    for width in range(5, 40):
        lines = wrapped(text, width).split("<br>")
        assert all(len(html.unescape(line)) <= max(width, 9) for line in lines)
        assert all(re.fullmatch(r"(?:[^&<>]|&(?:amp|lt|gt|#x27);)*", line) for line in lines)
        assert " ".join(map(html.unescape, lines)) == text or width < 9


def test_several_comparisons_make_one_page(finished: Finished, tmp_path: Path) -> None:
    folder = finished[1].folder
    page = write_report([folder, folder], tmp_path / "both.html").read_text()
    ids = re.findall(r'<div id="(figure-\d+)"', page)
    assert len(ids) == len(set(ids)) >= 24


def test_a_folder_without_a_comparison_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no finished comparison.*recbole-dtlns compare"):
        write_report([tmp_path])
