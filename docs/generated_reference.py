"""A Sphinx extension: pages of the reference are written from what the package says of itself, when the site is built.

A comment such as `<!-- generated: keys -->` stands where they go. Keys that a page names become links to the reference.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from recbole_dtlns.commands.command_line import COMMANDS
from recbole_dtlns.components import PREFIX
from recbole_dtlns.settings.reference import yaml_reference
from recbole_dtlns.studies.compare.experiment_file import shipped_experiments

PLACE = re.compile(r"<!-- generated: (\w+)(?: ([\w.]+))? -->")
KEY_LINE = re.compile(r"(?P<name>\w+): (?P<default>.*?)\s+# \((?P<kind>.*?)\) (?P<meaning>.*)")
KEYS_PAGE = "reference/keys"


def keys() -> str:
    """Every key with its type, default and meaning, section by section."""
    parts = []
    for section in yaml_reference().split("\n\n")[1:]:
        title, *lines = section.strip().splitlines()
        heading, _, about = title.removeprefix("# ").partition(":" if ":" in title else ".")
        parts.append(f"## {heading}\n" + (f"\n{_sentence(about)}\n" if about.strip() else ""))
        parts += [_definition(line) for line in lines]
    return "\n".join(parts)


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _definition(line: str) -> str:
    found = KEY_LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"this line of properties/dtlns.yaml is no key: {line}")
    default = {"~": "none", '""': "empty"}.get(found["default"], f"`{found['default']}`")
    meaning = _escaped(found["meaning"])
    return f"({found['name']})=\n`{found['name']}`\n: *{found['kind']}, default* {default}<br>\n  {meaning}\n"


def _escaped(text: str) -> str:
    """Plain text as Markdown; names of keys as code."""
    text = re.sub(r"([*<>\[\]{}|`\\])", r"\\\1", text)
    return re.sub(rf"\b({PREFIX}[a-z0-9_]*[a-z0-9])", r"`\1`", text)


def commands() -> str:
    """Every command with what it is for and its options, as its own parser knows them."""
    parts = []
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"recbole-dtlns {name}", allow_abbrev=False)
        command.add_options(parser)
        flags = " [--KEY=VALUE ...]" if command.takes_settings else ""
        usage = re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ").replace("[-h] ", "").strip())
        parts.append(
            f"## {name}\n\n{_sentence(command.purpose)}\n\n```text\n{usage.replace(' [-h]', '')}{flags}\n```\n"
        )
        parts += list(_options(parser))
        if command.takes_settings:
            parts.append("Takes [the flags of a run](#the-flags-of-a-run).\n")
    return "\n".join(parts)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = parser._get_formatter()
    for option in parser._actions:
        if isinstance(option, argparse._HelpAction) or option.help is argparse.SUPPRESS:
            continue
        text = formatter._expand_help(option) if option.help else ""
        names = ", ".join(option.option_strings) or str(option.metavar or option.dest)
        takes = "" if option.nargs == 0 or not option.option_strings else f"={option.metavar or option.dest.upper()}"
        needed = " (required)" if option.required and option.option_strings else ""
        yield f"`{names}{takes}`{needed}\n: {_escaped(text)}\n"


def experiments() -> str:
    """The experiments that come with the package."""
    return "\n".join(f"`{name}`\n: {_escaped(about)}\n" for name, about in shipped_experiments().items())


def module(name: str) -> str:
    """Every name that a module offers (its `__all__`, else what it defines), with its documentation."""
    found = importlib.import_module(name)
    own = [one for one, value in vars(found).items() if getattr(value, "__module__", None) == name]
    names = [one for one in getattr(found, "__all__", own) if not one.startswith("_")]
    return "\n".join(["```{eval-rst}", *(_documented(name, one) for one in names), "```"])


def name(path: str) -> str:
    """One class or function, by its full path."""
    where, _, what = path.rpartition(".")
    return "\n".join(["```{eval-rst}", _documented(where, what), "```"])


def _documented(where: str, what: str) -> str:
    found = getattr(importlib.import_module(where), what)
    if isinstance(found, type):
        return f".. autoclass:: {where}.{what}\n   :members:\n   :show-inheritance:\n"
    if callable(found):
        return f".. autofunction:: {where}.{what}\n"
    if what.endswith("CHECKS"):
        rules = "\n".join(f"   - {_one_line(check.__doc__)}" for check in found)
        return f".. py:data:: {where}.{what}\n\n{rules}\n"
    return f".. py:data:: {where}.{what}\n\n   {', '.join(f'`{one}`' for one in found)}\n"


def _one_line(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "").partition("\n\n")[0]).strip()


GENERATED: dict[str, Callable[..., str]] = {
    "keys": keys,
    "commands": commands,
    "experiments": experiments,
    "module": module,
    "name": name,
}


def fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put what is generated in place of the comments that name it."""

    def generated(found: re.Match[str]) -> str:
        return GENERATED[found[1]](*([found[2]] if found[2] else []))

    source[0] = PLACE.sub(generated, source[0])


def examples_as_code(_app: Sphinx, _what: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:
    """Indented examples after a colon and an empty line are code, as docstrings write them."""
    for place, line in enumerate(lines[:-2]):
        if line.endswith(":") and not lines[place + 1].strip() and lines[place + 2].startswith("    "):
            lines[place] = f"{line}:"


class LinkedKeys(SphinxPostTransform):
    """Keys that stand as code in a page lead to their place in the reference."""

    default_priority = 5

    def run(self, **_: Any) -> None:
        """Put a link around every piece of code that is a key, with or without a value."""
        if self.env.current_document.docname == KEYS_PAGE:
            return
        labels = self.env.get_domain("std").anonlabels  # type: ignore[attr-defined]
        for literal in list(self.document.findall(nodes.literal)):
            key = re.match(rf"(?:--)?({PREFIX}\w*)(?=$|[:=])", literal.astext())
            if key and key[1] in labels and not isinstance(literal.parent, nodes.reference):
                link = addnodes.pending_xref(
                    "", refdomain="std", reftype="ref", reftarget=key[1], refexplicit=True, refwarn=True
                )
                link["refdoc"] = self.env.current_document.docname
                literal.replace_self(link)
                link += literal


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", examples_as_code, priority=400)  # before napoleon's sections
    app.add_post_transform(LinkedKeys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
