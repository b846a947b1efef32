"""Snapshots of searches: a copy of the last whole one takes the place of one that was torn."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from recbole_dtlns.studies.tune.snapshots import KEPT, Snapshots

SESSION, LATER = "2026-01-01_10-00-00", "2026-01-01_11-00-00"


def write(folder: Path, trials: int, session: str = SESSION) -> dict[str, bytes]:
    """A snapshot as Ray writes it, and what else lies in a search's folder."""
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text("{}")
    contents = {
        f"experiment_state-{session}.json": b'{"trial_data": [%s]}' % b", ".join([b"1"] * trials),
        f"callback-states-{session}.pkl": pickle.dumps([trials]),
        f"basic-variant-state-{session}.json": pickle.dumps({"drawn": trials}),  # Ray pickles it under this name
        f"search_gen_state-{session}.json": b'{"drawn": %d}' % trials,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        os.utime(folder / name, ns=(trials, trials))
    return contents


def of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*-2026*")}


@pytest.mark.parametrize("torn", ["experiment_state", "callback-states", "basic-variant-state", "search_gen_state"])
def test_the_kept_snapshot_takes_the_place_of_a_torn_one(torn: str, tmp_path: Path) -> None:
    folder = tmp_path / "found"
    snapshots = Snapshots(folder)
    before = write(folder, trials=1)
    snapshots.keep()
    after = write(folder, trials=2)
    path = next(folder.glob(f"{torn}*"))
    path.write_bytes(after[path.name][:-3])
    snapshots.keep()  # nothing is taken of it
    assert Snapshots(folder).mend()
    assert of(folder) == before


def test_a_whole_snapshot_stays(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    write(folder, trials=1)
    Snapshots(folder).keep()
    newest = write(folder, trials=2)
    assert Snapshots(folder).mend()
    assert of(folder) == newest


def test_each_snapshot_is_kept_once(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    snapshots = Snapshots(folder)
    snapshots.keep()  # there is none yet
    write(folder, trials=1)
    snapshots.keep()
    kept = next((folder / KEPT).glob("experiment_state*"))
    kept.unlink()
    snapshots.keep()
    assert not kept.exists()
    newest = write(folder, trials=2)
    snapshots.keep()
    assert of(folder / KEPT) == newest


def test_the_snapshot_of_an_earlier_session_serves_where_none_was_kept(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    earlier = write(folder, trials=1)
    write(folder, trials=2, session=LATER)
    (folder / f"experiment_state-{LATER}.json").write_bytes(b"")
    assert Snapshots(folder).mend()
    assert of(folder) == earlier


def test_where_nothing_is_whole_the_search_starts_again(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    write(folder, trials=1)
    (folder / f"experiment_state-{SESSION}.json").write_bytes(b"")
    assert not Snapshots(folder).mend()
    assert of(folder) == {}
    assert not Snapshots(tmp_path / "absent").mend()
