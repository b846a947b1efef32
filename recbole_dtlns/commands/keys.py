"""`recbole-dtlns keys`: every setting with its type, default, meaning and reader, other packages' included."""

from __future__ import annotations

import argparse
import sys

from recbole_dtlns.commands.command import Command


def _add_options(parser: argparse.ArgumentParser) -> None:
    """What is asked about, and in which form the answer comes."""
    parser.add_argument(
        "about",
        nargs="?",
        metavar="WORD",
        help="a component (srns), a kind of them (sampler), a part of keys' names, or else of their meanings; "
        "default: all keys",
    )
    parser.add_argument(
        "--format",
        choices=("text", "yaml"),
        default="text",
        help="yaml: properties/dtlns.yaml, which holds this package's keys alone",
    )


def _run(given: argparse.Namespace) -> int:
    """Print what was asked for; what cannot be imported is named beside it."""
    from recbole_dtlns.settings.owners import broken_plug_ins
    from recbole_dtlns.settings.reference import text_reference, yaml_reference

    print(yaml_reference().rstrip() if given.format == "yaml" else text_reference(given.about))
    for message in broken_plug_ins():
        print(f"warning: {message}", file=sys.stderr)
    return 0


COMMAND = Command(
    "print every setting with its type, default, meaning and what presets make of it, those of plug-ins included",
    _run,
    _add_options,
    takes_settings=False,
    needs_recbole=False,
)
