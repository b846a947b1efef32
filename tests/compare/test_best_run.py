"""From a finished comparison to recommendations: the demo's last lines."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from recbole_dtlns import load_run
from recbole_dtlns.commands.demo import recommended
from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.studies.compare.best_run import best_run
from recbole_dtlns.studies.compare.comparison import Comparison

Finished = tuple[Path, Comparison, list[str]]


def test_the_arm_that_is_best_on_validation_is_loaded(finished: Finished) -> None:
    _, found, _ = finished
    row, folder = best_run(found)
    assert row.valid.known == max(one.valid.known for one in found.rows)
    assert load_run(folder).metrics["valid"]["ndcg@10"] == pytest.approx(row.valid.by_seed[0], abs=5.1e-5)


def test_three_users_get_titles_and_the_command_for_all(finished: Finished) -> None:
    _, found, _ = finished
    row, folder = best_run(found)
    head, *users, command = recommended(found).splitlines()
    assert head == f"what {row.arm}, the best on validation, recommends:"
    run = load_run(folder)
    expected = [
        f"  user {user}: {'; '.join(f'A & B <{item}>' for item, _ in best)}"
        for user, best in run.recommend(run.users[:3], 5)
    ]
    assert users == expected
    assert command == f"for all users: recbole-dtlns recommend {folder} --output=recommendations.parquet"


def test_runs_that_are_gone_are_named(finished: Finished, tmp_path: Path) -> None:
    _, found, _ = finished
    copied = replace(found, folder=Path(shutil.copytree(found.folder, tmp_path / "copy")))
    for folder in copied.folder.glob("cells/*/train"):
        shutil.rmtree(folder)
    with pytest.raises(ArtefactError, match="are no longer in"):
        best_run(copied)
    with pytest.raises(ArtefactError, match=r"no arm of .* was measured on validation"):
        best_run(replace(found, rows=[]))
