"""`recbole-dtlns generate`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command, check_output_folder, check_probe, run_arguments


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="negatives", help="folder for the vectors, which the generator file reads")
    parser.add_argument("--dry-run", action="store_true", help="only say what asking a language model would cost")
    parser.add_argument("--probe", type=int, help="with --dry-run: requests of a kind to ask for real, for the speed")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.studies import generating

    check_probe(given)
    run = run_arguments(given)
    if given.dry_run:
        print(generating.estimate_generating(**run, probe=given.probe).text())
        return 0
    check_output_folder(given.output)
    made = generating.generate_negatives(**run)
    pairs = made.preparation.train.matrix.nnz
    print(f"vectors of {made.write(given.output)} of {pairs} train pairs in {given.output}")
    return 0


COMMAND = Command("generate hard negatives of the train pairs, write their vectors and stop", _run, _add_options)
