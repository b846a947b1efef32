"""`recbole-dtlns transform`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command, run_arguments


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, help="folder of the new data set, as in dataset/shop-dtlns")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier call wrote there")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.bridge.transformed_files import transform_files

    print(transform_files(given.output, **run_arguments(given), overwrite=given.overwrite).text)
    return 0


COMMAND = Command(
    "write the data set with tree codes and pseudo-positives, for plain RecBole or anything else that reads it",
    _run,
    _add_options,
)
