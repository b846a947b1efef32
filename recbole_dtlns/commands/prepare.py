"""`recbole-dtlns prepare`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command, run_arguments


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.bridge.runner import prepare_only

    if prepare_only(**run_arguments(given)) is None:
        print("these settings ask for no preparation: DTL-NS is off")
    return 0


COMMAND = Command("run the stages before training, print their summary and stop", _run)
