"""What a command of `recbole-dtlns` is, and how the settings of a run reach it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from recbole_dtlns.errors import ConfigError


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


def check_probe(given: argparse.Namespace) -> None:
    """Refuse a probe that is none: whoever asks for one means not to pay for all requests.

    Raises:
        ConfigError: `--probe` stands without `--dry-run`, or its number is below 0.
    """
    if given.probe is None:
        return
    if not given.dry_run:
        raise ConfigError("--probe measures for --dry-run, and without that all requests are asked: say --dry-run too")
    if given.probe < 0:
        raise ConfigError(f"--probe={given.probe}: it must be a number of requests, from 0")


def check_output_folder(output: str) -> None:
    """Refuse a place where no folder can be written, before the work that fills it.

    Raises:
        ConfigError: it is a file, or empty.
    """
    if not output:
        raise ConfigError("--output= names no folder: name one, or leave the option out")
    if Path(output).exists() and not Path(output).is_dir():
        raise ConfigError(f"--output={output} is a file: name a folder")
