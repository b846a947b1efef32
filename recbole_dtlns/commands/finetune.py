"""`recbole-dtlns finetune`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command, check_output_folder, run_arguments


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", required=True, help="folder or name of a causal model")
    parser.add_argument("--output", default="adapter", help="folder of the adapter; a stopped training goes on there")
    parser.add_argument("--dry-run", action="store_true", help="only count pairs, steps and tokens")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.studies import finetuning

    run = run_arguments(given)
    if given.dry_run:
        print(finetuning.estimate_finetuning(given.base, **run).text())
    else:
        check_output_folder(given.output)
        print(finetuning.finetune(given.base, given.output, **run).text())
    return 0


COMMAND = Command("fine-tune a causal model for generating hard negatives as vectors", _run, _add_options)
