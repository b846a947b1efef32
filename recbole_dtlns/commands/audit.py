"""`recbole-dtlns audit`: the scores of judges as a table, a file and a page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from recbole_dtlns.commands.command import Command, run_arguments

AUDITED = "always,random,rank,structural,calibrated"
CONTROLLED = ("structural", "calibrated")  # on shuffled and random paths too: they cost nothing


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--judges", default=AUDITED, help=f"judges, separated by commas (default {AUDITED})")
    parser.add_argument("--controls", help="those of them to ask again with shuffled and random paths")
    parser.add_argument("--output", default="audit.json", help="file for the scores; .html beside it")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.reports.audit import audit_page
    from recbole_dtlns.storage.whole_files import write_file
    from recbole_dtlns.studies.judging import audit_judges

    judges = given.judges.split(",")
    controls = [name for name in judges if name in CONTROLLED]
    if given.controls is not None:
        controls = [name for name in given.controls.split(",") if name]
    scores = audit_judges(judges, **run_arguments(given), controls=controls)
    output = Path(given.output)
    write_file(output, json.dumps(scores.plain(), indent=2), "--output")
    write_file(output.with_suffix(".html"), audit_page(scores), "--output")
    print(f"{scores.table()}\npicture: {output.with_suffix('.html')}")
    return 0


COMMAND = Command("score judges on train positives hidden on purpose", _run, _add_options)
