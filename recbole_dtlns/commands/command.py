"""What a command of `recbole-dtlns` is, and how the settings of a run reach it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict


def _no_options(parser: argparse.ArgumentParser) -> None: ...


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        purpose: what it is for, in a line of the help.
        run: does it, given the parsed options, and in `settings` the flags that they left over; returns the exit
            status.
        add_options: its own options.
        takes_settings: whether RecBole's flags may follow, one per setting.
        needs_recbole: whether RecBole must be there.
        keys: paragraphs of its help on the settings that matter most to it.
    """

    purpose: str
    run: Callable[[argparse.Namespace], int]
    add_options: Callable[[argparse.ArgumentParser], None] = _no_options
    takes_settings: bool = True
    needs_recbole: bool = True
    keys: tuple[str, ...] = ()


class RunArguments(TypedDict):
    """What every function that takes a run's settings is given by a command."""

    model: str | None
    dataset: str | None
    config_file_list: list[str]
    arguments: list[str]


def run_arguments(given: argparse.Namespace) -> RunArguments:
    """The run that RecBole's flags describe."""
    return {
        "model": given.model,
        "dataset": given.dataset,
        "config_file_list": given.config_files.split(),
        "arguments": given.settings,
    }
