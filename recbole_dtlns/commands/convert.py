"""`recbole-dtlns convert`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="a file whose first line names its columns")
    parser.add_argument("--user", required=True, metavar="COLUMN", help="its column of users")
    parser.add_argument("--item", required=True, metavar="COLUMN", help="its column of items")
    parser.add_argument("--time", metavar="COLUMN", help="its column of times: numbers or dates")
    parser.add_argument("--rating", metavar="COLUMN", help="its column of ratings")
    parser.add_argument("--min-rating", type=float, help="leave out rows rated below")
    parser.add_argument("--date-format", help="of the times, as in %%d/%%m/%%Y, where it is not plain")
    parser.add_argument("--encoding", help="of the file (default: UTF-8, UTF-16 or cp1252, whichever reads it)")
    parser.add_argument("--output", required=True, help="folder of the data set, as in dataset/shop")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.commands.conversion import convert

    options = {name: value for name, value in vars(given).items() if name not in ("command", "settings")}
    print(convert(**options).text())
    return 0


COMMAND = Command(
    "write a table of interactions, such as a .csv file, as a data set that RecBole reads",
    _run,
    _add_options,
    takes_settings=False,
    needs_recbole=False,
)
