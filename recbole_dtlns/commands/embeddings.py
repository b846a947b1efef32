"""`recbole-dtlns embeddings`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command
from recbole_dtlns.commands.recommend import add_run


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--output", required=True, help="folder of the vectors")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.bridge.serving.load_run import load_run

    run = load_run(given.run, allow_leaking=given.allow_leaking, device=given.device)
    about = {"model": run.config["model"], "dataset": run.config["dataset"], "leaking": run.leaking}
    written = run.vectors().write(given.output, about)
    mark = "LEAKING: " if run.leaking else ""
    print(f"{mark}vectors of {len(run.users)} users and {len(run.items)} items: {given.output} ({', '.join(written)})")
    return 0


COMMAND = Command("write the vectors whose products are the scores", _run, _add_options, takes_settings=False)
