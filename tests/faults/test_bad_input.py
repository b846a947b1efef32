"""Input that no run can use ends with status 2 and a message that names it; nothing is trained, and nothing hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bad_input import BAD_ARGUMENTS, BAD_CONFIG_FILES, BAD_LABELS, BAD_PAIRS
from commands import Command


def nothing_was_trained() -> bool:
    return not list(Path("saved").glob("*/result.json"))


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS)
def test_a_bad_argument_is_named(arguments: str, command: Command) -> None:
    Path("a_file").write_text("neither a folder nor a table\n")
    # A space separates arguments where the next one begins with two dashes.
    assert BAD_ARGUMENTS[arguments] in command.refused("train", *arguments.replace(" --", "\n--").split("\n"))
    assert nothing_was_trained()


@pytest.mark.parametrize("name", BAD_CONFIG_FILES)
def test_a_bad_config_file_is_named(name: str, command: Command) -> None:
    content, named = BAD_CONFIG_FILES[name]
    Path("bad.yaml").write_bytes(content)
    assert named in command.refused("train", "--config_files=tiny.yaml bad.yaml")
    assert nothing_was_trained() and not Path("called").exists()


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_a_bad_data_file_is_named(name: str, command: Command) -> None:
    content, named = BAD_PAIRS[name]
    Path("data/tiny/tiny.train.inter").write_bytes(content)
    assert named in command.refused("train")
    assert nothing_was_trained()


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels_are_named(name: str, command: Command) -> None:
    content, named = BAD_LABELS[name]
    Path("bad.tsv").write_text(content)
    assert named in command.refused("train", "--dtlns_judge=recorded", "--dtlns_judge_labels=bad.tsv")
    assert nothing_was_trained()


def test_a_working_folder_that_is_gone_is_named(command: Command) -> None:
    gone = Path("gone").resolve()
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert "working folder" in command.refused("train")
