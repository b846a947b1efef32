"""`recbole-dtlns explain`: why an item is recommended, on the terminal and as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_dtlns.commands.command import Command
from recbole_dtlns.commands.recommend import add_run


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--user", required=True, help="token of the user")
    parser.add_argument("--item", help="token of the item (default: the best --k of the user, briefly)")
    parser.add_argument("--k", type=int, default=5, help="how many items, where none is named (default 5)")
    parser.add_argument("--html", metavar="FILE", help="write a page beside the text")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.bridge.serving.explain import Explainer
    from recbole_dtlns.bridge.serving.load_run import load_run
    from recbole_dtlns.errors import ConfigError

    if given.html == "":
        raise ConfigError("--html= names no file: name one, or leave the option out")
    run = load_run(given.run, allow_leaking=given.allow_leaking, device=given.device)
    found = Explainer(run).explain(given.user, given.item, given.k)
    print(found.text())
    if given.html:
        from recbole_dtlns.reports.reasons import reasons_page
        from recbole_dtlns.storage.whole_files import write_file

        write_file(Path(given.html), reasons_page(found), "--html")
        print(f"\npage: {given.html}")
    return 0


COMMAND = Command("say why an item is recommended", _run, _add_options, takes_settings=False)
