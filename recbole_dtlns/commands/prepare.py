"""`recbole-dtlns prepare`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command, run_arguments


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="only say how many texts and tokens the encoder of texts would be given"
    )


def _run(given: argparse.Namespace) -> int:
    if given.dry_run:
        from recbole_dtlns.studies.generating import estimate_encoding

        print(estimate_encoding(**run_arguments(given)).text())
        return 0
    from recbole_dtlns.bridge.runner import prepare_only

    if prepare_only(**run_arguments(given)) is None:
        print("these settings ask for no preparation: DTL-NS is off")
    return 0


COMMAND = Command("run the stages before training, print their summary and stop", _run, _add_options)
