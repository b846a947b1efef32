"""`recbole-dtlns demo`: the shipped comparison that anybody can run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_dtlns.commands.command import Command
from recbole_dtlns.commands.compare import show

if TYPE_CHECKING:
    from recbole_dtlns.studies.compare.comparison import Comparison

_USERS, _ITEMS = 3, 5


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="demo_runs", help="folder for runs, log and table (default demo_runs)")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.studies.compare.compare import compare

    found = compare("demo", output=given.output)
    show(found)
    print(f"\n{recommended(found)}")
    return 0


def recommended(found: Comparison) -> str:
    """What the best model of a comparison recommends to a few users, by title."""
    from recbole_dtlns.bridge.serving.load_run import load_run
    from recbole_dtlns.data.atomic_file import read_titles
    from recbole_dtlns.studies.compare.best_run import best_run

    row, folder = best_run(found)
    run = load_run(folder)
    file = Path(run.config["data_path"], run.config["dataset"], f"{run.config['dataset']}.item")
    titles = read_titles(file, run.columns[1]) if file.exists() else {}
    lines = [f"what {row.arm}, the best on validation, recommends:"]
    for user, best in run.recommend(run.users[:_USERS], _ITEMS):
        lines.append(f"  user {user}: {'; '.join(titles.get(item, item) for item, _ in best)}")
    return "\n".join([*lines, f"for all users: recbole-dtlns recommend {folder} --output=recommendations.parquet"])


COMMAND = Command(
    "compare plain RecBole with DTL-NS on ml-100k (5 to 10 minutes)", _run, _add_options, takes_settings=False
)
