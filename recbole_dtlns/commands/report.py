"""`recbole-dtlns report`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="of a comparison")
    parser.add_argument("--output", help="file (default report.html in the first folder)")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.reports.comparison import write_report

    print(f"report: {write_report(given.folders, given.output)}")
    return 0


COMMAND = Command(
    "one HTML page of finished comparisons, which opens offline", _run, _add_options, takes_settings=False
)
