"""The console command `recbole-dtlns`, and what `run_recbole_dtlns.py` runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_dtlns import __version__, compat
from recbole_dtlns.commands import (
    audit,
    compare,
    completion,
    convert,
    demo,
    doctor,
    embeddings,
    explain,
    export,
    finetune,
    generate,
    judge,
    keys,
    prepare,
    recommend,
    report,
    train,
    transform,
    tune,
)
from recbole_dtlns.commands.command import Command
from recbole_dtlns.errors import ConfigError, DTLNSError

# Their modules import RecBole, and whatever else may be missing, only when they are run.
COMMANDS: dict[str, Command] = {
    "train": train.COMMAND,
    "recommend": recommend.COMMAND,
    "embeddings": embeddings.COMMAND,
    "explain": explain.COMMAND,
    "prepare": prepare.COMMAND,
    "judge": judge.COMMAND,
    "finetune": finetune.COMMAND,
    "generate": generate.COMMAND,
    "export": export.COMMAND,
    "audit": audit.COMMAND,
    "transform": transform.COMMAND,
    "tune": tune.COMMAND,
    "compare": compare.COMMAND,
    "report": report.COMMAND,
    "convert": convert.COMMAND,
    "keys": keys.COMMAND,
    "completion": completion.COMMAND,
    "doctor": doctor.COMMAND,
    "demo": demo.COMMAND,
}
_RUN_OPTIONS = """RecBole's flags, one per setting: --key=value
  --model=NAME            recommender of RecBole's, of any kind, or package.module:Class
  --dataset=NAME          data set under data_path; RecBole ships ml-100k
  --config_files='A B'    yaml files, separated by spaces
  --KEY=VALUE             any RecBole or dtlns_ key, such as --epochs=50 --dtlns_alpha_structure=0.2"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (2 for an error that the user can mend, 1 if `doctor` found problems)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if unknown := _unknown_command(arguments):
        print(f"recbole-dtlns: {unknown}", file=sys.stderr)
        return 2
    parser, options = _parser()
    given, settings = parser.parse_known_args(arguments)
    given.settings = settings
    command = COMMANDS[given.command]
    try:
        _check_working_folder()
        if settings and not command.takes_settings:
            raise ConfigError(f"{given.command} does not take {' '.join(settings)}")
        if command.needs_recbole:
            compat.require_recbole()
        _refuse_mistyped_options(given.command, settings, options[given.command])
        status = command.run(given)
        if sys.stdout is not None:  # as it is where a shell closed it (>&-)
            sys.stdout.flush()  # here, where a pipe that is closed can be answered
        return status
    except BrokenPipeError:  # such as of `recbole-dtlns keys | head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
        return 141  # what a shell says of a program that a closed pipe ended
    except DTLNSError as error:
        print(f"recbole-dtlns: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("recbole-dtlns: interrupted; what was computed is kept", file=sys.stderr)
        return 130


def _parser() -> tuple[argparse.ArgumentParser, dict[str, list[str]]]:
    """What reads the command line, and the names of every command's own options."""
    options: dict[str, list[str]] = {}
    parser = argparse.ArgumentParser(
        prog="recbole-dtlns", description="Train RecBole recommenders with DTL-NS.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"recbole-dtlns {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=command.purpose,
            description=command.purpose,
            epilog="\n\n".join([_RUN_OPTIONS, *command.keys]) if command.takes_settings else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if command.takes_settings:
            own.add_argument("--model", default=None, help=argparse.SUPPRESS)
            own.add_argument("--dataset", default=None, help=argparse.SUPPRESS)
            own.add_argument("--config_files", default="", help=argparse.SUPPRESS)
        known = set(own._option_string_actions)
        command.add_options(own)
        options[name] = [option.removeprefix("--") for option in own._option_string_actions if option not in known]
    return parser, options


def options_of(command: Command) -> list[str]:
    """A command's own options, as they are written; those that take a value end in =."""
    parser = argparse.ArgumentParser(add_help=False)
    command.add_options(parser)
    return [
        name + ("" if action.nargs == 0 else "=")
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--")
    ]


def _unknown_command(arguments: Sequence[str]) -> str:
    """What to say where the first word is no command; argparse would list them all and name no near one."""
    name = next(iter(arguments), "-")
    if name.startswith("-") or name in COMMANDS:
        return ""
    from recbole_dtlns.registry import nearest  # whose imports a start need not wait for

    return f"there is no command '{name}'.{nearest(name, COMMANDS)} All of them: {', '.join(COMMANDS)}"


def _refuse_mistyped_options(command: str, settings: Sequence[str], options: Sequence[str]) -> None:
    """A mistyped option would pass for a key that some model may read, and its default be taken.

    Raises:
        ConfigError: what is no key of RecBole's, nor allowed as another's, is all but an option of the command.
    """
    names = [setting.removeprefix("--").partition("=")[0] for setting in settings if setting.startswith("--")]
    if not options or not names or _allows_unknown_keys(settings):
        return
    from recbole_dtlns.bridge.known_keys import keys_of_recbole, meant  # imports RecBole

    for name in names:
        if name not in keys_of_recbole() and (close := meant(name, options)) is not None:
            raise ConfigError(
                f"{command} has no option --{name}. Did you mean '--{close}'? If your model reads '{name}', add "
                "--allow_unknown_keys"
            )


def _allows_unknown_keys(settings: Sequence[str]) -> bool:
    return any(setting.lower() in ("--allow_unknown_keys", "--allow_unknown_keys=true") for setting in settings)


def _check_working_folder() -> None:
    """RecBole and Ray, and every relative path, need one; a shell can stand in a folder that was deleted."""
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working folder cannot be used ({error.strerror}; was it deleted?): change to another one with cd"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
