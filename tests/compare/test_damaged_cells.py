"""What is left of a comparison after kills and damage: nothing damaged is used, nobody works beside another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from recbole_dtlns.errors import ArtefactError, ConfigError
from recbole_dtlns.reports.comparison import write_report
from recbole_dtlns.storage.sealed_json import sealed
from recbole_dtlns.studies.compare import cell as cell_module
from recbole_dtlns.studies.compare.cell import CELL, FAILURE, LOCK, main, run_cell
from recbole_dtlns.studies.compare.cell_result import is_finished, read_result
from recbole_dtlns.studies.compare.compare import _reason, compare
from recbole_dtlns.studies.compare.comparison import Comparison
from recbole_dtlns.studies.compare.experiment import Cell

Finished = tuple[Path, Comparison, list[str]]


def another_digit(file: Path) -> None:
    """In the first metric of test."""
    text = file.read_text()
    place = text.index("0.", text.index('"test"')) + 3
    file.write_text(f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}")


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cell_of(folder: Path, arm: str) -> Path:
    files = folder.glob("cells/*/result.json")
    return next(file.parent for file in files if json.loads(file.read_text())["arm"] == arm)


def shortened(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def test_damaged_cells_are_named_and_run_again(finished: Finished, empty_folder: Path) -> None:
    path, found, _ = finished
    folder = empty_folder / "copy"
    shutil.copytree(found.folder, folder)
    damaged = [cell_of(folder, "plain RecBole") / "result.json", cell_of(folder, "EASE") / "per_user.parquet"]
    another_digit(damaged[0])
    shortened(damaged[1])
    said: list[str] = []
    again = compare(path, output=folder, say=said.append)
    assert "2 of them done before" in said[2]
    for file, line in zip(damaged, said, strict=False):
        assert f"{file} is damaged" in line and "this run is done again" in line
    assert [row.metrics for row in again.rows] == [row.metrics for row in found.rows]
    assert all(is_finished(file.parent) for file in damaged)


@pytest.mark.parametrize("damage", [flipped, shortened, emptied, Path.unlink])
@pytest.mark.parametrize("name", ["result.json", "per_user.parquet", "explanation.json"])
def test_no_damaged_file_of_a_cell_is_used(
    name: str, damage: Callable[[Path], None], finished: Finished, empty_folder: Path
) -> None:
    folder = empty_folder / "cell"
    shutil.copytree(cell_of(finished[1].folder, "DTL-NS (alpha_structure=0.5)"), folder, ignore=lambda *_: ["train"])
    assert is_finished(folder)
    damage(folder / name)
    assert not is_finished(folder)
    with pytest.raises(ArtefactError, match=name):
        read_result(folder)


def test_a_result_that_was_copied_from_another_cell_is_not_used(finished: Finished, empty_folder: Path) -> None:
    shutil.copytree(cell_of(finished[1].folder, "EASE"), folder := empty_folder / "cell", ignore=lambda *_: ["train"])
    digest = read_result(folder).digest
    assert is_finished(folder, digest)
    assert not is_finished(folder, "0" * len(digest))
    with pytest.raises(ArtefactError, match=r"result\.json is the result of another run"):
        read_result(folder, "0" * len(digest))


def test_a_damaged_comparison_is_not_drawn(finished: Finished, empty_folder: Path) -> None:
    file = empty_folder / "comparison.json"
    shutil.copy(finished[1].folder / file.name, file)
    another_digit(file)
    with pytest.raises(ConfigError, match=r"comparison\.json is damaged or was edited.*start it again"):
        write_report([empty_folder])


@pytest.fixture
def cell(finished: Finished) -> Cell:
    """The plain arm, shorter."""
    read = (json.loads(file.read_text()) for file in finished[1].folder.glob("cells/*/cell.json"))
    content = next(one for one in read if one["arm"] == "plain RecBole")
    content.pop("checksum")
    return Cell(**{**content, "keys": {**content["keys"], "epochs": 1}, "authors_mask": None})


@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_cell_whose_checkpoint_is_damaged_starts_again(
    cell: Cell, empty_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = empty_folder / "train" / "left"
    left.mkdir(parents=True)
    for name in ("best.pth", "last.pth"):
        (left / name).write_text("torn")
    run_cell(cell, empty_folder)
    assert "last.pth is damaged" in caplog.text and "starts at the beginning" in caplog.text
    assert is_finished(empty_folder)


@pytest.fixture
def started(cell: Cell, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the folder was locked, for every time that `main` would have run this cell."""
    (empty_folder / CELL).write_text(sealed(asdict(cell)))
    found: list[bool] = []

    def run(given: Cell, folder: Path) -> None:
        assert given.keys == cell.keys
        try:
            FileLock(folder / LOCK).acquire(timeout=0)
            found.append(False)
        except Timeout:
            found.append(True)

    monkeypatch.setattr(cell_module, "run_cell", run)
    return found


def test_a_cell_holds_the_lock_of_its_folder_itself(started: list[bool], empty_folder: Path) -> None:
    """So one that outlives its comparison is alone in it for as long as it lives."""
    assert main(str(empty_folder)) == 0
    assert started == [True]


def test_a_cell_that_another_comparison_has_finished_is_not_run(
    started: list[bool], cell: Cell, finished: Finished, empty_folder: Path
) -> None:
    result = replace(read_result(cell_of(finished[1].folder, "EASE")), digest=cell.digest)
    cell_module.write_result(empty_folder, result)
    assert main(str(empty_folder)) == 0
    assert not started


def test_a_result_that_does_not_say_whose_it_is_counts_for_nothing(
    started: list[bool], cell: Cell, empty_folder: Path
) -> None:
    (empty_folder / "result.json").write_text(sealed({"arm": "x"}))
    with pytest.raises(ArtefactError, match=r"result\.json is the result of another run"):
        read_result(empty_folder, cell.digest)
    assert main(str(empty_folder)) == 0
    assert started == [True]


def test_a_damaged_description_of_a_cell_is_named(started: list[bool], empty_folder: Path) -> None:
    (empty_folder / CELL).write_text("{")
    assert main(str(empty_folder)) == 2
    assert "cell.json is damaged" in _reason(empty_folder, 2)
    assert not started


def test_a_failure_without_a_reason_is_a_failure_still(empty_folder: Path) -> None:
    (empty_folder / FAILURE).touch()
    assert "failure.txt is empty: see" in _reason(empty_folder, 2)
