"""`recbole-dtlns compare`: an experiment is run, then drawn."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from recbole_dtlns.commands.command import Command, run_arguments

if TYPE_CHECKING:
    from recbole_dtlns.studies.compare.comparison import Comparison


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="a yaml file, or a shipped experiment; 'list' names these")
    parser.add_argument("--output", help="folder of the comparison (default compare_runs/NAME-DATASET)")
    parser.add_argument("--jobs", type=int, help="runs at once (default: one per core; with a GPU, one)")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.studies.compare.compare import compare
    from recbole_dtlns.studies.compare.experiment_file import shipped_experiments

    if given.experiment == "list":
        print("\n".join(f"{name:<12} {about}" for name, about in shipped_experiments().items()))
        return 0
    run = run_arguments(given)
    found = compare(
        given.experiment,
        run["model"],
        run["dataset"],
        run["config_file_list"],
        output=given.output,
        jobs=given.jobs,
        arguments=run["arguments"],
    )
    show(found)
    return 0


def show(found: Comparison) -> None:
    """Print a comparison's table, and write its page."""
    from recbole_dtlns.reports.comparison import write_report
    from recbole_dtlns.studies.compare.tables import markdown

    print(f"\n{markdown(found)}\n\nfiles: {found.folder}\nreport: {write_report([found.folder])}")


COMMAND = Command("run an experiment of several arms and seeds, and test what they differ in", _run, _add_options)
