"""What README and guide tell to type works: commands are parsed, blocks are run, links lead somewhere."""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml
from guide import PAGES, ROOT, RUN_FOLDER, Block, blocks, name

from recbole_dtlns.bridge.known_keys import keys_of_recbole
from recbole_dtlns.commands.command_line import COMMANDS, main
from recbole_dtlns.settings.reference import yaml_reference
from recbole_dtlns.studies.compare.experiment_file import read_experiment
from recbole_dtlns.studies.tune.space import read_space

PLUG_IN = "docs/how-to/plug-in.md"  # its package is installed and run by test_plug_ins.py, and brings keys of its own
LANGUAGES = {"bash", "console", "python", "yaml", "toml", "text", "sql", ""}
OF_RUNS = {"model", "dataset", "config_files", "allow_unknown_keys", "resume_from"}
NO_KEYS = {"dtlns_origin", "dtlns_weight"}  # columns of transformed data sets
QUICK = ["--train_batch_size=20000", "--eval_batch_size=400000", "--show_progress=False"]
HAND_WRITTEN = [page for page in PAGES if name(page) != PLUG_IN]


@cache
def known_keys() -> set[str]:
    return set(yaml.safe_load(yaml_reference()))


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of this package in a page, in its blocks and in its text."""
    for block in blocks(page):
        if block.language in ("bash", "console", ""):
            yield from (words[1:] for words in block.commands() if words[0] == "recbole-dtlns")
    for line in re.findall(r"`recbole-dtlns ([^`]*=[^`…]*)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
        yield line.replace("'", "").split()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_is_one_that_there_is(page: Path) -> None:
    """By the parsers of the commands; what they leave over must be keys, which must exist."""
    keys = known_keys() | keys_of_recbole() | OF_RUNS
    for words in commands(page):
        command = COMMANDS[words[0]]
        parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
        command.add_options(parser)
        _, left = parser.parse_known_args(words[1:])
        assert command.takes_settings or not left, words
        for setting in left:
            given = re.fullmatch(r"--(\w+)(=.*)?", setting)
            assert given, f"{words}: {setting} is no setting"
            assert given[1] in keys or name(page) == PLUG_IN, f"{words}: there is no key {given[1]}"


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name)
def test_every_key_that_is_named_is_one_that_there_is(page: Path) -> None:
    named = set(re.findall(r"\bdtlns_[a-z_]*[a-z]\b", page.read_text())) - NO_KEYS
    assert {key for key in named if not key.startswith("dtlns_dtlns")} - known_keys() == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"a block of {name(page)} in {block.language}"
        assert block.not_run is None or len(block.not_run) > 10
        if block.language == "python":
            compile(block.text, name(page), "exec")
        if block.language == "yaml":
            assert yaml.safe_load(block.text)


def test_links_of_the_readme_lead_somewhere() -> None:
    """Those of the guide are checked when the site is built."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    inside = [link for link in links if not link.startswith("http")]
    assert len(inside) > 20
    assert [link for link in inside if not (ROOT / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all pages are run in: it holds the table that they start from, and its data set."""
    folder = tmp_path_factory.mktemp("guide")
    samples = runpy.run_path(str(ROOT / "benchmarks" / "samples.py"))
    samples["made_shop"]().to_csv(folder / "shop.csv", index=False)
    columns = ["--user=customer", "--item=product", "--time=bought"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["convert", "shop.csv", *columns, "--output=dataset/shop"]) == 0
    return folder


def run_folder(found: re.Match[str]) -> str:
    """The newest run of a model on a data set; where a page begins with one, it is trained now."""
    model, data = found.groups()
    made = sorted(Path("saved").glob(f"{model}-{data}-*"), key=lambda folder: folder.stat().st_mtime)
    finished = [folder for folder in made if (folder / "result.json").exists()]
    if not finished:
        files = [f"--config_files=dataset/{data}/{data}.yaml"] if Path("dataset", data).exists() else []
        assert main(["train", f"--model={model}", f"--dataset={data}", *files, *QUICK, "--epochs=1"]) == 0
        return run_folder(found)
    return str(finished[-1])


def _quick(words: list[str]) -> list[str]:
    """A training of an epoch, whatever the page says; one that goes on has another."""
    few = [*QUICK, f"--epochs={2 if 'resume_from' in ' '.join(words) else 1}"]
    if "--dataset=ml-100k" in words:
        few.append("--user_inter_num_interval=[0,100]")  # a quarter of the pairs
    replaced = {setting.partition("=")[0] for setting in few}
    return [word for word in words if word.partition("=")[0] not in replaced] + few


def run(block: Block, variables: dict[str, object], page: Path) -> None:
    """Run a block as it stands, but for the name of a run folder, and with few epochs."""
    text = RUN_FOLDER.sub(run_folder, block.text)
    block = Block(block.language, text, block.not_run, block.file)
    if block.file is not None:
        Path(block.file).write_text(text, encoding="utf-8")
    if block.language in ("bash", "console"):
        for words in block.commands():
            assert words[0] == "recbole-dtlns", f"{name(page)}: a test cannot run {words[0]}"
            if words[1] == "convert":  # which replaces nothing
                shutil.rmtree("dataset/shop")
            assert main(_quick(words[1:]) if words[1] == "train" else words[1:]) == 0, words
    elif block.language == "python":
        exec(compile(text, name(page), "exec"), variables)
    elif block.language == "yaml" and block.file is not None:
        content = yaml.safe_load(text)
        if "arms" in content:
            read_experiment(block.file)
        elif all(isinstance(value, dict) for value in content.values()):
            read_space(block.file)


# Pages on runs that go on from others have tests of their own.
RUN_ELSEWHERE = {f"docs/how-to/{page}.md" for page in ("explain", "refit", "warm-start")}
WITH_BLOCKS = [
    page
    for page in HAND_WRITTEN
    if name(page) not in RUN_ELSEWHERE and any(one.not_run is None and one.language for one in blocks(page))
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of RecBole's own steps, which a page takes by itself
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name)
def test_a_page_is_run_as_it_stands(
    page: Path, shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop)
    monkeypatch.setenv("RECBOLE_DTLNS_CACHE", str(shop / "cache"))
    monkeypatch.setattr(sys, "argv", ["guide.py"])  # RecBole's Config reads it
    variables: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.not_run is None:
            if "import faiss" in block.text:
                pytest.importorskip("faiss")
            run(block, variables, page)
    check = CHECKS.get(name(page))
    if check is not None:
        check(capsys.readouterr().out)


def recommendations_are_those_of_ml_100k(said: str) -> None:
    recommended = pd.read_parquet("recommendations.parquet")
    assert (recommended.groupby("user_id").size() == 20).all() and recommended["user_id"].nunique() > 500
    (line,) = [line for line in said.splitlines() if line.startswith("196 [")]
    assert "'242'" not in line


def neighbours_are_printed(said: str) -> None:
    assert len(yaml.safe_load(said.splitlines()[-1])) == 10


CHECKS = {
    "docs/how-to/recommend.md": recommendations_are_those_of_ml_100k,
    "docs/how-to/vector-database.md": neighbours_are_printed,
}


def test_every_value_of_exclude_is_listed() -> None:
    from recbole_dtlns.bridge.serving.trained_run import EVALUATION, OBSERVED
    from recbole_dtlns.commands.recommend import NONE

    listed = re.findall(r"^\| `(\w+)`", (ROOT / "docs/how-to/recommend.md").read_text(), re.MULTILINE)
    assert listed == [OBSERVED, EVALUATION, NONE]
