"""The console command `recbole-dtlns`, and what `run_recbole_dtlns.py` runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_dtlns import __version__, compat
from recbole_dtlns.errors import ConfigError, DTLNSError
from recbole_dtlns.glue.doctor import report

_AUDITED = "always,random,rank,shuffled,structural,calibrated"
_RUN_OPTIONS = """RecBole's flags, one per setting: --key=value
  --model=NAME            RecBole general recommender or package.module:Class
  --dataset=NAME          data set under data_path; RecBole ships ml-100k
  --config_files='A B'    yaml files, separated by spaces
  --KEY=VALUE             any RecBole or dtlns_ key, such as --epochs=50 --dtlns_alpha_co=0.2"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (2 for an error that the user can mend)."""
    parser = argparse.ArgumentParser(
        prog="recbole-dtlns", description="Train RecBole recommenders with DTL-NS.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"recbole-dtlns {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in (
        ("train", "prepare, train and evaluate one model"),
        ("prepare", "run the stages before training, print their summary and stop"),
        ("audit", "score judges on train positives hidden on purpose"),
    ):
        command = commands.add_parser(
            name,
            help=purpose,
            description=purpose,
            epilog=_RUN_OPTIONS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument("--model", default=None, help=argparse.SUPPRESS)
        command.add_argument("--dataset", default=None, help=argparse.SUPPRESS)
        command.add_argument("--config_files", default="", help=argparse.SUPPRESS)
        if name == "audit":
            command.add_argument("--judges", default=_AUDITED, help=f"judges, separated by commas (default {_AUDITED})")
            command.add_argument("--output", default="audit.json", help="file for the scores (default audit.json)")
    commands.add_parser("doctor", help="print versions, devices and what is missing")
    demo = commands.add_parser("demo", help="compare plain RecBole with DTL-NS on ml-100k (3 to 6 minutes)")
    demo.add_argument("--output", default="demo_runs", help="folder for runs, log and table (default demo_runs)")
    given, rest = parser.parse_known_args(arguments)
    try:
        return _run(given, rest)
    except DTLNSError as error:
        print(f"recbole-dtlns: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace, rest: list[str]) -> int:
    if given.command in ("doctor", "demo") and rest:
        raise ConfigError(f"{given.command} does not take {' '.join(rest)}")
    if given.command == "doctor":
        print(report())
        return 0
    compat.require_recbole()
    # Imported only now, so that `doctor` and the message above work where RecBole is missing.
    from recbole_dtlns.glue.demo import run_demo
    from recbole_dtlns.glue.runner import audit_judges, prepare_only, run_recbole_dtlns, write_file

    if given.command == "demo":
        run_demo(given.output)
        return 0
    files = given.config_files.split()
    if given.command == "audit":
        scores = audit_judges(given.judges.split(","), given.model, given.dataset, files, arguments=rest)
        write_file(Path(given.output), json.dumps(scores.plain(), indent=2))
        print(scores.table())
    elif given.command == "prepare":
        preparation = prepare_only(given.model, given.dataset, files, arguments=rest)
        if preparation is None:
            print("these settings ask for no preparation: DTL-NS is off")
    else:
        run_recbole_dtlns(given.model, given.dataset, files, arguments=rest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
