"""`recbole-dtlns completion`: what lets a shell complete commands, options, data sets and keys.

The script holds the words themselves, so a shell completes them without starting Python.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from recbole_dtlns.commands.command import Command

_OF_RUNS = ("--model=", "--dataset=", "--config_files=")
_BASH = """\
# recbole-dtlns, for bash: source <(recbole-dtlns completion bash)
_recbole_dtlns() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" option="" lead="" words=""
    if [[ $word == "=" ]]; then option=$before word=""              # bash parts words at =
    elif [[ $before == "=" ]]; then option=${{COMP_WORDS[COMP_CWORD-2]}}
    elif [[ $word == --*=* ]]; then option=${{word%%=*}} lead="$option=" word=${{word#*=}}
    fi
    COMPREPLY=()
    if [[ -n $option ]]; then
        case $option in
            --dataset) words="ml-100k $(for one in dataset/*/; do [[ -d $one ]] && basename "$one"; done)" ;;
{values}
            *) COMPREPLY=($(compgen -P "$lead" -f -- "$word")); return ;;
        esac
        COMPREPLY=($(compgen -P "$lead" -W "$words" -- "$word"))
        return
    fi
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "{commands}" -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{options}
    esac
    if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "$words" -- "$word"))
    elif [[ ${{COMP_WORDS[1]}} == keys ]]; then COMPREPLY=($(compgen -W "{keys}" -- "$word"))
    else COMPREPLY=($(compgen -f -- "$word"))
    fi
    [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace 2> /dev/null
}}
complete -o filenames -F _recbole_dtlns recbole-dtlns
"""
_ZSH = """\
# recbole-dtlns, for zsh: source <(recbole-dtlns completion zsh)
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="source <(recbole-dtlns completion bash)")


def _run(given: argparse.Namespace) -> int:
    made = {"bash": _bash, "zsh": lambda: _ZSH + _bash(), "fish": _fish}
    print(made[given.shell]().rstrip())
    return 0


def _options() -> dict[str, list[str]]:
    """The options of every command; those of runs take every key."""
    from recbole_dtlns.commands.command_line import COMMANDS, options_of

    settings = [*_OF_RUNS, *(f"--{key}=" for key in [*_keys(), *_keys_of_recbole()])]
    return {
        name: [*options_of(command), *(settings if command.takes_settings else [])]
        for name, command in COMMANDS.items()
    }


def _keys() -> dict[str, list[str]]:
    """This package's keys and those of plug-ins, each with the values that it may have, where these can be listed."""
    from recbole_dtlns.components import PREFIX
    from recbole_dtlns.settings.owners import TABLES, keys_of, owners

    found = {PREFIX + name: _choices(key.field.annotation) for name, key in keys_of(owners()).items()}
    names = {"encoder": "text_encoder"}
    for table in TABLES:
        key = PREFIX + names.get(table.kind, table.kind)
        if key in found:
            found[key] = table.names()
    return {**found, "allow_unknown_keys": ["True"], "resume_from": []}


def _choices(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["True", "False"]
    return [str(one) for one in get_args(annotation)] if get_origin(annotation) is Literal else []


def _keys_of_recbole() -> list[str]:
    """RecBole's general keys, from its files: it is not imported for them."""
    properties = _properties_of_recbole()
    files = [properties / "overall.yaml", *sorted((properties / "dataset").glob("sample.yaml"))] if properties else []
    lines = (line for file in files if file.is_file() for line in file.read_text(encoding="utf-8").splitlines())
    return list(dict.fromkeys(key[1] for line in lines if (key := re.match(r"(\w+):", line))))


def _models() -> list[str]:
    """The general, sequential and knowledge-aware recommenders, as RecBole's files of defaults name them."""
    properties = _properties_of_recbole()
    folder = properties.parent / "model" if properties else Path()
    modules = {
        path.stem
        for kind in ("general", "sequential", "knowledge_aware")
        for path in folder.glob(f"{kind}_recommender/*.py")
    }
    names = [path.stem for path in sorted((properties / "model").glob("*.yaml"))] if properties else []
    return [name for name in names if name.lower() in modules]


def _properties_of_recbole() -> Path | None:
    found = importlib.util.find_spec("recbole")
    return Path(found.origin).parent / "properties" if found is not None and found.origin else None


def _bash() -> str:
    options = _options()
    values = {"--model": _models(), **{f"--{key}": choices for key, choices in _keys().items() if choices}}
    return _BASH.format(
        commands=" ".join(options),
        keys=" ".join(_keys()),
        options="\n".join(f'        {name}) words="{" ".join(words)}" ;;' for name, words in options.items()),
        values="\n".join(
            f'            {option}) words="{" ".join(words)}" ;;' for option, words in values.items() if words
        ),
    )


def _fish() -> str:
    from recbole_dtlns.commands.command_line import COMMANDS

    options, values = _options(), {"model": _models(), **_keys()}
    lines = ["# recbole-dtlns, for fish: recbole-dtlns completion fish | source"]
    lines += [
        f"complete -c recbole-dtlns -f -n __fish_use_subcommand -a {name} -d {_quoted(command.purpose)}"
        for name, command in COMMANDS.items()
    ]
    lines += [f"complete -c recbole-dtlns -n '__fish_seen_subcommand_from keys' -a {_quoted(' '.join(_keys()))}"]
    by_option: dict[str, list[str]] = {}
    for name, words in options.items():
        for word in words:
            by_option.setdefault(word.removeprefix("--").removesuffix("="), []).append(name)
    for option, names in by_option.items():
        line = f"complete -c recbole-dtlns -n '__fish_seen_subcommand_from {' '.join(names)}' -l {option}"
        if option == "dataset":
            lines.append(f"{line} -x -a '(printf \"%s\\n\" ml-100k (path basename dataset/*/))'")
        else:
            lines.append(f"{line} -x -a {_quoted(' '.join(values[option]))}" if values.get(option) else line)
    return "\n".join(lines)


def _quoted(words: str | Iterable[str]) -> str:
    return "'" + str(words).replace("\\", "\\\\").replace("'", "\\'") + "'"


COMMAND = Command(
    "print what lets bash, zsh or fish complete commands, options, data sets and keys",
    _run,
    _add_options,
    takes_settings=False,
    needs_recbole=False,
)
