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
    from recbole_dtlns.serving.vector_files import source_of

    run = load_run(given.run, allow_leaking=given.allow_leaking, device=given.device)
    before, name = source_of(given.output), run.folder.resolve().name
    about = {"run": name, "model": run.config["model"], "dataset": run.config["dataset"], "leaking": run.leaking}
    written = run.vectors.write(given.output, about)
    replaced = "" if before in (None, name) else f"; replaced the vectors of {before}"
    mark = "LEAKING: " if run.leaking else ""
    print(
        f"{mark}vectors of {len(run.users)} users and {len(run.items)} items: {given.output} "
        f"({', '.join(written)}){replaced}"
    )
    return 0


COMMAND = Command("write the vectors whose products are the scores", _run, _add_options, takes_settings=False)
