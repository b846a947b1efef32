"""Pictures of a search, as pages that open offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from recbole_dtlns.reports.pages import draw, page
from recbole_dtlns.storage.whole_files import write_file

if TYPE_CHECKING:
    from recbole_dtlns.studies.tune.results import Trials

_FEW = 8  # values that an axis names one by one
_FEWEST = 2  # trials; a single score varies with nothing
_AXIS, _BAR = 120, 46  # pixels of one


def write_pages(trials: Trials) -> None:
    """Write parallel.html and importance.html into the folder of a search."""
    write_file(trials.folder / "parallel.html", parallel_page(trials), "--storage")
    write_file(trials.folder / "importance.html", importance_page(trials), "--storage")


def parallel_page(trials: Trials) -> str:
    """One line per trial with a score, through its searched values."""
    scores = _scores(trials)
    axes = []
    for key in trials.keys:
        numbers, labels = _numbers(_values(trials, key))
        axis = {"label": key, "values": numbers}
        if labels:
            axis |= {"tickvals": list(range(len(labels))), "ticktext": labels}
        elif len(np.unique(numbers)) <= _FEW:
            axis |= {"tickvals": np.unique(numbers)}
        elif _logarithmic(numbers):
            exponents = np.unique(np.floor(np.log10(numbers)))
            ticks = np.append(exponents, exponents[-1] + 1)
            axis |= {"values": np.log10(numbers), "tickvals": ticks, "ticktext": [f"1e{tick:.0f}" for tick in ticks]}
        axes.append(axis)
    axes.append({"label": trials.metric, "values": scores})
    colour = {"color": scores, "colorscale": "Viridis", "showscale": True, "reversescale": not trials.bigger}
    figure = go.Figure(go.Parcoords(line=colour, dimensions=axes))
    figure.update_layout(margin={"t": 60, "l": 70, "r": 30, "b": 30})
    return page(
        f"{len(scores)} trials: searched values and {trials.metric} on validation",
        "<p>A line is a trial, its colour the score. Drag along an axis to see only the trials that pass there.</p>"
        + draw(figure, "parallel", least=_AXIS * len(axes)),
    )


def importance_page(trials: Trials) -> str:
    """How much the score depends on each searched key, as a random forest fitted to the trials sees it.

    Shown is the share of explained variation lost when a key's values are shuffled (permutation importance, Breiman
    2001).
    """
    keys, score = trials.keys, _scores(trials)
    title = f"What {trials.metric} depends on: {len(score)} trials"
    if len(score) < _FEWEST:
        return page(title, f"<p>It takes {_FEWEST} trials with a score to see what it depends on.</p>")
    inputs = np.stack([_numbers(_values(trials, key))[0] for key in keys], axis=1)
    forest = RandomForestRegressor(300, random_state=0).fit(inputs, score)
    found = permutation_importance(forest, inputs, score, n_repeats=30, random_state=0)
    order = np.argsort(found.importances_mean)
    bars = go.Bar(
        x=found.importances_mean[order],
        y=[keys[place] for place in order],
        error_x={"array": found.importances_std[order]},
        orientation="h",
    )
    figure = go.Figure(bars)
    figure.update_layout(xaxis={"title": "loss of explained variation", "rangemode": "tozero"})
    few = "" if len(score) >= 10 * len(keys) else " These are few trials for so many keys, so read it as a hint."
    return page(
        title,
        "<p>How much of the variation that a random forest explains is lost when the values of a key are shuffled."
        f"{few}</p>" + draw(figure, "importance", 110 + _BAR * len(keys)),
    )


def _scores(trials: Trials) -> np.ndarray:
    return np.array([trial.score for trial in trials.scored], dtype=float)


def _values(trials: Trials, key: str) -> list[Any]:
    return [trial.sampled[key] for trial in trials.scored]


def _numbers(values: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """Values as numbers; those that are none as positions among their sorted texts, and these texts."""
    if all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=float), []
    labels = sorted({str(value) for value in values})
    return np.array([labels.index(str(value)) for value in values], dtype=float), labels


def _logarithmic(values: np.ndarray) -> bool:
    return bool(values.min() > 0 and values.max() / values.min() >= 20)
