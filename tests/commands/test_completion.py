"""Shells complete commands, options, data sets and keys, and the program starts no slower for it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import run

from recbole_dtlns.bridge.known_keys import keys_of_recbole
from recbole_dtlns.commands.command_line import COMMANDS, main
from recbole_dtlns.components import PREFIX
from recbole_dtlns.settings.settings import DTLNSSettings


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(run("run_command", "completion", shell).stdout)
    return folder


def words_of(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def completed(scripts: Path, *words: str) -> list[str]:
    """What bash's own completion answers after these words, parted at = as bash parts them."""
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {scripts / 'bash'}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; $(complete -p recbole-dtlns | "
    )
    code += "sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
    return words_of("bash", "--norc", "-c", code)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["recbole-dtlns", "tra"], ["train", "transform"]),
        (["recbole-dtlns", "recommend", "--ex"], ["--exclude="]),
        (["recbole-dtlns", "train", "--dtlns_pool_d"], ["--dtlns_pool_depths="]),
        (["recbole-dtlns", "train", "--stopping"], ["--stopping_step="]),
        (["recbole-dtlns", "keys", "dtlns_pool_d"], ["dtlns_pool_depths"]),
        (["recbole-dtlns", "train", "--dataset", "=", "sh"], ["shop"]),
        (["recbole-dtlns", "train", "--dataset", "="], ["ml-100k", "shop"]),
        (["recbole-dtlns", "train", "--dataset=sh"], ["--dataset=shop"]),  # where = parts no words
        (["recbole-dtlns", "train", "--model", "=", "LightG"], ["LightGCN"]),
        (["recbole-dtlns", "train", "--dtlns_preset", "=", "b"], ["best"]),
        (["recbole-dtlns", "train", "--dtlns_sampler", "=", "dns"], ["dns", "dns_mn"]),
        (["recbole-dtlns", "train", "--config_files", "=", "m"], ["my.yaml"]),
        (["recbole-dtlns", "doctor", "--dtlns"], []),
    ],
)
def test_bash_completes(words: list[str], expected: list[str], scripts: Path) -> None:
    Path("dataset/shop").mkdir(parents=True)
    Path("my.yaml").touch()
    assert completed(scripts, *words) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed (apt-get install fish)")
def test_fish_completes(scripts: Path) -> None:
    def fish(line: str) -> list[str]:
        return [
            word.split("\t")[0] for word in words_of("fish", "-c", f"source {scripts / 'fish'}; complete -C '{line}'")
        ]

    assert {"train", "transform"} <= set(fish("recbole-dtlns tra"))
    assert "--dtlns_pool_depths" in fish("recbole-dtlns train --dtlns_pool_d")
    assert "--dtlns_preset=best" in fish("recbole-dtlns train --dtlns_preset=b")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed (apt-get install zsh)")
def test_zsh_reads_its_script(scripts: Path) -> None:
    code = f"source {scripts / 'zsh'}; print -r -- $_comps[recbole-dtlns]"
    assert words_of("zsh", "-f", "-c", code) == ["_bash_complete", "-o", "filenames", "-F", "_recbole_dtlns"]


def test_a_start_imports_neither_torch_nor_recbole() -> None:
    code = "import sys\nfrom recbole_dtlns.commands.command_line import main\n"
    code += "try: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'recbole', 'pandas', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_help_of_train_names_keys_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    assert "recbole-dtlns keys WORD" in said
    ours = {PREFIX + name for name in DTLNSSettings.from_config({}).flat}
    rows = [line for paragraph in COMMANDS["train"].keys for line in paragraph.splitlines() if line.startswith("  ")]
    named = {word for row in rows for word in re.sub(r"\(.*?\)", "", row[16:]).split()}
    assert len(named) > 30 and named - ours - keys_of_recbole() == {"resume_from", "init_from"}
