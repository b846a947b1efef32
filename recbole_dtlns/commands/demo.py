"""`recbole-dtlns demo`: the shipped comparison that anybody can run."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command
from recbole_dtlns.commands.compare import show


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="demo_runs", help="folder for runs, log and table (default demo_runs)")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.studies.compare.compare import compare

    show(compare("demo", output=given.output))
    return 0


COMMAND = Command(
    "compare plain RecBole with DTL-NS on ml-100k (5 to 10 minutes)", _run, _add_options, takes_settings=False
)
