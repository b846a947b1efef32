"""Work that falls into blocks: the same whoever does it, kept while an artefact is made, and not done twice."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from recbole_dtlns.blocks.in_tasks import OnBlock, on_blocks
from recbole_dtlns.blocks.shared_out import SharedOut, Tasks
from recbole_dtlns.blocks.work import over_blocks, working_with
from recbole_dtlns.errors import ArtefactError, DataError
from recbole_dtlns.numerics.groups import stretches
from recbole_dtlns.storage.artefact_store import Artefact, ArtefactStore
from recbole_dtlns.storage.parts import Shards

BLOCKS = [slice(first, min(first + 3, 20)) for first in range(0, 20, 3)]
NUMBERS = np.arange(20)


def squares(shared: np.ndarray, block: slice) -> dict[str, np.ndarray]:
    return {"square": shared[block] ** 2, "two": np.stack([shared[block], -shared[block]], axis=1)[::2]}


def refuses_the_tenth(shared: np.ndarray, block: slice) -> dict[str, np.ndarray]:
    if 10 in shared[block]:
        raise DataError("ten is not for us")
    return squares(shared, block)


def squares_of(shared: None, numbers: np.ndarray) -> dict[str, np.ndarray]:
    return {"square": numbers**2}


def ones(shared: None, block: slice) -> dict[str, np.ndarray]:
    return {"one": np.ones(block.stop - block.start, np.int8)}


def threads(shared: np.ndarray, block: slice) -> dict[str, np.ndarray]:
    return {"threads": np.array([found["num_threads"] for found in threadpool_info()])}


class Elsewhere:
    """Does tasks last to first on copies, and notes which blocks were worked on; dies after so many tasks."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.worked: list[int] = []
        self.dies_after = dies_after

    def __call__(
        self, function: OnBlock, shared: Any, tasks: Tasks, work: str
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        function, shared = pickle.loads(pickle.dumps((function, shared)))
        for number, part in enumerate(reversed(list(tasks))):
            if number == self.dies_after:
                raise KeyboardInterrupt
            self.worked += part
            yield part, on_blocks(function, shared, tasks[part])


def make(store: ArtefactStore, elsewhere: Elsewhere, blocks_per_task: int, function: OnBlock = squares) -> Artefact:
    def build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        first = over_blocks(function, NUMBERS, BLOCKS, "first")
        second = over_blocks(function, -NUMBERS, BLOCKS, "second")
        return {**first, "further": second["two"]}, {}

    with working_with(SharedOut(elsewhere, blocks_per_task)):
        return store.get_or_build("numbers", 1, {}, build)


def shards(store: ArtefactStore) -> list[Path]:
    return sorted(store.root.glob("numbers/*.parts/*"))


@pytest.mark.parametrize("blocks_per_task", [1, 2, 7, 100])
def test_who_works_does_not_change_results(blocks_per_task: int) -> None:
    here, told, told_here = over_blocks(squares, NUMBERS, BLOCKS, "squares"), [], []
    over_blocks(squares, NUMBERS, BLOCKS, "squares", told_here.append)
    with working_with(SharedOut(Elsewhere(), blocks_per_task)):
        elsewhere = over_blocks(squares, NUMBERS, BLOCKS, "squares", told.append)
    assert np.array_equal(here["square"], NUMBERS**2)
    assert here.keys() == elsewhere.keys() == {"square", "two"}
    assert all(np.array_equal(here[name], elsewhere[name]) for name in here)
    assert told_here == [3, 3, 3, 3, 3, 3, 2]
    assert sum(told) == 20


def test_afterwards_this_process_works_again() -> None:
    elsewhere = Elsewhere()
    with pytest.raises(DataError), working_with(SharedOut(elsewhere)):
        over_blocks(refuses_the_tenth, NUMBERS, BLOCKS, "squares")
    over_blocks(squares, NUMBERS, BLOCKS, "squares")
    assert elsewhere.worked == list(range(len(BLOCKS)))


@pytest.mark.parametrize("again", [1, 2, 5])
def test_what_was_done_before_a_death_is_not_done_again(tmp_path: Path, again: int) -> None:
    store = ArtefactStore(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        make(store, Elsewhere(dies_after=2), 2)
    assert len(shards(store)) == 2  # blocks 6, and 4 and 5: the last come first
    survivor = Elsewhere()
    found = make(store, survivor, again)
    n_blocks = len(BLOCKS)
    assert sorted(survivor.worked[:4]) == [0, 1, 2, 3]
    assert sorted(survivor.worked[4:]) == list(range(n_blocks))
    whole = make(ArtefactStore(tmp_path / "whole"), Elsewhere(), 3)
    assert found.digest == whole.digest
    assert np.array_equal(found.arrays["square"], NUMBERS**2)


def test_what_was_done_before_counts_as_progress_and_works_of_one_name_are_told_apart(tmp_path: Path) -> None:
    told: list[int] = []

    def build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        told.clear()
        first = over_blocks(squares, NUMBERS, BLOCKS, "same", told.append)
        return {**first, "further": over_blocks(squares, NUMBERS + 1, BLOCKS, "same", told.append)["square"]}, {}

    store = ArtefactStore(tmp_path)
    for dies_after in (2, 3):
        with pytest.raises(KeyboardInterrupt), working_with(SharedOut(Elsewhere(dies_after), 2)):
            store.get_or_build("numbers", 1, {}, build)
    with working_with(SharedOut(Elsewhere(), 2)):
        found = store.get_or_build("numbers", 1, {}, build)
    assert sum(told) == 2 * len(NUMBERS)
    assert np.array_equal(found.arrays["square"], NUMBERS**2)
    assert np.array_equal(found.arrays["further"], (NUMBERS + 1) ** 2)


def test_work_for_no_artefact_keeps_nothing(tmp_path: Path) -> None:
    make(ArtefactStore(tmp_path), Elsewhere(), 2)
    with working_with(SharedOut(Elsewhere())):
        over_blocks(squares, NUMBERS, BLOCKS, "squares")
    assert not list(tmp_path.rglob("*.parts"))


def test_tasks_work_on_one_thread() -> None:
    """Of a library's threads: results that depend on their number are those of one."""
    with threadpool_limits(limits=2):
        assert max(on_blocks(threads, NUMBERS, BLOCKS)["threads"]) == 1


def test_of_shards_that_overlap_one_is_taken(tmp_path: Path) -> None:
    shards = Shards(tmp_path, "000-first", BLOCKS)
    for part in (range(2), range(1, 3)):
        shards.keep(part, on_blocks(squares, NUMBERS, BLOCKS[part.start : part.stop]))
    found = Shards(tmp_path, "000-first", BLOCKS)
    assert found.done == (range(2),)
    assert found.missing() == [range(2, len(BLOCKS))]


def test_when_the_artefact_is_whole_its_parts_are_gone(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    found = make(store, Elsewhere(), 2)
    assert not list(tmp_path.rglob("*.parts"))
    left = found.path.with_suffix(".parts")  # by whoever was killed between the two
    left.mkdir()
    make(store, Elsewhere(dies_after=0), 2)
    assert not left.exists()


def test_a_damaged_shard_is_noticed_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ArtefactStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make(store, Elsewhere(dies_after=3), 2)
    damaged = shards(store)[1]
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    survivor = Elsewhere()
    found = make(store, survivor, 2)
    assert f"{damaged} is damaged" in caplog.text
    assert sorted(survivor.worked[: -len(BLOCKS)]) == [0, 1, 4, 5]
    assert np.array_equal(found.arrays["square"], NUMBERS**2)


@pytest.mark.parametrize("bounds", [[0, 5, 10, 15, 20], [0, 1, 2, 3, 4, 8, 12, 20]])
def test_shards_of_other_blocks_are_not_taken(
    bounds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where there are as many, between the same ends."""
    store = ArtefactStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make(store, Elsewhere(dies_after=2), 2)
    monkeypatch.setattr(f"{__name__}.BLOCKS", list(itertools.starmap(slice, itertools.pairwise(bounds))))
    survivor = Elsewhere()
    found = make(store, survivor, 2)
    assert sorted(survivor.worked[: len(BLOCKS)]) == list(range(len(BLOCKS)))
    assert np.array_equal(found.arrays["square"], NUMBERS**2)


def test_a_shard_in_the_place_of_another_is_not_taken(tmp_path: Path) -> None:
    """Whole and under its checksum, but of other blocks, another work, or another artefact."""
    store = ArtefactStore(tmp_path / "whole")
    expected = make(store, Elsewhere(), 2).digest
    with pytest.raises(KeyboardInterrupt):
        make(store := ArtefactStore(tmp_path / "swapped"), Elsewhere(dies_after=3), 2)
    one, other, last = shards(store)
    swapped = one.read_bytes(), other.read_bytes()
    other.write_bytes(swapped[0])
    one.write_bytes(swapped[1])
    last.rename(last.with_name(last.name.replace("000-first", "001-second")))
    survivor = Elsewhere()
    assert make(store, survivor, 2).digest == expected
    assert sorted(survivor.worked) == sorted(2 * list(range(len(BLOCKS))))


@pytest.mark.parametrize("what", ["key", "version"])
def test_shards_of_another_artefact_or_version_are_not_taken(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, blocks = Shards(tmp_path / "a.parts", "000-first", BLOCKS), range(2)
    stopped.keep(blocks, on_blocks(squares, NUMBERS, BLOCKS[:2]))
    assert Shards(tmp_path / "a.parts", "000-first", BLOCKS).done == (blocks,)
    if what == "key":
        (tmp_path / "a.parts").rename(tmp_path / "b.parts")
    else:
        monkeypatch.setattr("recbole_dtlns.storage.parts.__version__", "0")
    folder = tmp_path / ("b.parts" if what == "key" else "a.parts")
    assert Shards(folder, "000-first", BLOCKS).done == ()
    assert not list(folder.iterdir())


def test_a_shard_that_can_be_neither_read_nor_removed_costs_its_blocks_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a.parts"
    (folder / "000-first.00000000-00000002.safetensors").mkdir(parents=True)
    found = Shards(folder, "000-first", BLOCKS)
    assert found.missing() == [range(len(BLOCKS))]
    with pytest.raises(ArtefactError, match=r"cannot write .*00000000-00000002"):
        found.keep(range(2), on_blocks(squares, NUMBERS, BLOCKS[:2]))


def test_the_error_of_a_block_carries_through_and_the_others_are_kept(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    with pytest.raises(DataError, match="ten is not for us"):
        make(store, Elsewhere(), 1, refuses_the_tenth)
    assert len(shards(store)) == 3  # blocks 6, 5 and 4; the tenth number is in block 3
    with pytest.raises(DataError, match="ten is not for us"):
        over_blocks(refuses_the_tenth, NUMBERS, BLOCKS, "squares")


def test_where_nothing_is_done_no_folder_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(ArtefactStore(tmp_path), Elsewhere(dies_after=0), 2)
    assert not list(tmp_path.rglob("*.parts"))


def test_results_of_all_blocks_take_no_memory_beside_their_files(tmp_path: Path) -> None:
    size, held = 2_000_000, []

    def build() -> tuple[dict[str, np.ndarray], dict[str, int]]:
        tracemalloc.start()
        found = over_blocks(ones, None, stretches(size, size // 20), "ones")["one"]
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        return {"one": found}, {}

    with working_with(SharedOut(Elsewhere(), 1)):
        artefact = ArtefactStore(tmp_path).get_or_build("ones", 1, {}, build)
    assert held[0] < size / 5
    assert artefact.arrays["one"].sum() == size


def test_no_room_for_all_results_is_said_and_the_shards_are_kept(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path)
    with (
        mock.patch.object(Shards, "_whole", lambda shards, name: tmp_path / "nowhere" / name),
        pytest.raises(ArtefactError, match=r"cannot write .*free space there or set dtlns_cache_dir"),
    ):
        make(store, Elsewhere(), 2)
    assert len(shards(store)) == 4


def test_what_a_block_reads_is_made_when_it_is_its_turn() -> None:
    given: list[slice] = []

    def give(block: slice) -> np.ndarray:
        given.append(block)
        return NUMBERS[block]

    with pytest.raises(KeyboardInterrupt), working_with(SharedOut(Elsewhere(dies_after=2), 2)):
        over_blocks(squares_of, None, BLOCKS, "squares", give=give)
    assert given == [BLOCKS[6], BLOCKS[4], BLOCKS[5]]
    here = over_blocks(squares_of, None, BLOCKS, "squares", give=give)["square"]
    with working_with(SharedOut(Elsewhere(), 3)):
        elsewhere = over_blocks(squares_of, None, BLOCKS, "squares", give=give)["square"]
    assert np.array_equal(here, NUMBERS**2) and np.array_equal(elsewhere, here)
