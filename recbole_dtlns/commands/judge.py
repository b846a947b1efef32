"""`recbole-dtlns judge`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command, check_probe, run_arguments


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="labels.tsv", help="file for the labels, .tsv or .parquet")
    parser.add_argument("--dry-run", action="store_true", help="only say what asking an LLM would cost")
    parser.add_argument("--probe", type=int, help="with --dry-run: requests to ask for real, for the speed")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.studies import judging

    check_probe(given)
    run = run_arguments(given)
    if given.dry_run:
        print(judging.estimate_judging(**run, probe=given.probe).text())
        return 0
    judged = judging.judge_candidates(**run)
    judged.write(given.output)
    counts = judged.verdicts.counts()
    print(
        f"{counts['positive']} positive, {counts['negative']} negative, {counts['abstain']} abstained; "
        f"labels in {given.output}, label card in {given.output}.md"
    )
    return 0


COMMAND = Command("ask the judge about every candidate, write the labels and stop", _run, _add_options)
