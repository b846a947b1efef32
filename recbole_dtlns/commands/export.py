"""`recbole-dtlns export`."""

from __future__ import annotations

import argparse

from recbole_dtlns.commands.command import Command, run_arguments


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="requests.jsonl", help="file for the requests")
    parser.add_argument(
        "--of", choices=("judge", "generator"), default="judge", help="whose requests (default: those of the judge)"
    )


def _run(given: argparse.Namespace) -> int:
    if given.of == "generator":
        from recbole_dtlns.studies.generating import export_generating

        found = export_generating(given.output, **run_arguments(given))
        print(
            f"{', '.join(f'{count} requests for {name}' for name, count in found.items())} in {given.output}; read the "
            "replies with recbole-dtlns generate --dtlns_hnlmrec_llm_engine=recorded "
            "--dtlns_hnlmrec_llm_replies_file=..."
        )
        return 0
    from recbole_dtlns.studies.judging import export_requests

    count = export_requests(given.output, **run_arguments(given))
    print(
        f"{count} requests in {given.output}; read the replies with --dtlns_judge=llm --dtlns_engine=recorded "
        "--dtlns_judge_labels=..."
    )
    return 0


COMMAND = Command("write the requests that an LLM has not answered yet, for any batch service", _run, _add_options)
