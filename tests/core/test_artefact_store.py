"""Artefacts are computed once, found again, and never read when they are not exactly what was written."""

from __future__ import annotations

import errno
import logging
import os
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import PATIENCE, Children
from safetensors.numpy import save

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage import artefact_store
from recbole_dtlns.storage.artefact_store import Artefact, ArtefactStore

STAGE, VERSION, INPUTS = "verdicts", 1, {"train": "abc", "k": 20, "share": 0.5, "names": ["a", "b"]}


class Build:
    """A stage that counts how often it is computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        self.calls += 1
        arrays = {
            "label": np.array([0, 1, 2], np.int8),
            "probability": np.array([[0.25, np.nan], [np.inf, -1.0]], np.float32),
            "turned": np.arange(6, dtype=np.int64).reshape(2, 3).T,
            "none": np.empty((0, 4), np.int64),
            "known": np.array([True, False]),
        }
        return arrays, {"positive": 7, "share": 0.125, "because": {"no path": 3}}


def ask(
    store: ArtefactStore,
    build: Callable[[], tuple[dict, dict]],
    stage: str = STAGE,
    version: int = VERSION,
    **more: object,
) -> Artefact:
    return store.get_or_build(stage, version, {**INPUTS, **more}, build)


def refuse() -> tuple[dict, dict]:
    raise AssertionError("the artefact was computed again")


def assert_is_what_was_built(artefact: Artefact) -> None:
    arrays, facts = Build()()
    assert artefact.facts == facts
    assert set(artefact.arrays) == set(arrays)
    for name, array in arrays.items():
        assert artefact.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(artefact.arrays[name], array)


@pytest.fixture
def store() -> ArtefactStore:
    return ArtefactStore("store")


@pytest.fixture
def stored(store: ArtefactStore) -> Path:
    """The file of an artefact in `store`."""
    return ask(store, Build()).path


def test_the_second_call_reuses(store: ArtefactStore) -> None:
    """Same inputs: the same arrays and facts, without computing, also through another store object."""
    build = Build()
    first = ask(store, build)
    second, third = ask(store, refuse), ask(ArtefactStore("store"), refuse)
    assert build.calls == 1
    assert [first.reused, second.reused, third.reused] == [False, True, True]
    assert first.digest == second.digest == third.digest
    for artefact in (first, second, third):
        assert_is_what_was_built(artefact)


def test_arrays_take_no_memory_beside_their_file(store: ArtefactStore) -> None:
    """Neither those that were read nor those that were just written; and they outlive the file."""
    size = 4_000_000
    for _ in range(2):
        tracemalloc.start()
        artefact = ask(store, lambda: ({"numbers": np.ones(size, np.int8)}, {}))
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < size / 10
    artefact.path.unlink()
    assert artefact.arrays["numbers"].sum() == size


def test_who_writes_to_an_array_changes_no_file(store: ArtefactStore) -> None:
    for _ in range(2):
        ask(store, Build()).arrays["label"][:] = 9
    assert_is_what_was_built(ask(store, refuse))


def test_the_order_of_the_inputs_does_not_matter(store: ArtefactStore) -> None:
    """Inputs are a mapping; naming them in another order must not compute everything again."""
    ask(store, Build())
    assert store.get_or_build(STAGE, VERSION, dict(reversed(INPUTS.items())), refuse).reused


@pytest.mark.parametrize(
    "other",
    [{"train": "abd"}, {"k": 21}, {"k": "20"}, {"more": None}, {"names": ["ab"]}, {"stage": "trees"}, {"version": 2}],
    ids=str,
)
def test_other_inputs_miss(other: dict, store: ArtefactStore, stored: Path) -> None:
    """Any other input, stage or version of the code is another artefact, and leaves the first one alone."""
    build = Build()
    artefact = ask(store, build, **other)
    assert build.calls == 1
    assert artefact.path != stored
    assert ask(store, refuse).reused


def test_a_digest_tells_contents_apart(store: ArtefactStore) -> None:
    """Downstream stages are named by this digest: other values, shapes, types or facts give another one."""
    contents = [
        ({"x": np.array([1, 2], np.int64)}, {}),
        ({"x": np.array([1, 3], np.int64)}, {}),
        ({"x": np.array([[1, 2]], np.int64)}, {}),
        ({"x": np.array([1, 2], np.uint64)}, {}),
        ({"y": np.array([1, 2], np.int64)}, {}),
        ({"x": np.array([1, 2], np.int64)}, {"fact": 1}),
    ]
    digests = [
        ArtefactStore(f"store{number}").get_or_build(STAGE, 1, INPUTS, lambda content=content: content).digest
        for number, content in enumerate(contents)
    ]
    assert len(set(digests)) == len(contents)


def test_files_built_twice_are_byte_identical() -> None:
    """Nothing but inputs and result is in a file: no time, no path, no random name."""
    files = [ask(ArtefactStore(root), Build()).path for root in ("first", "second")]
    assert files[0].name == files[1].name
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_folder_is_made_when_needed_and_may_be_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was only named leaves no trace; "~" means the user's folder."""
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    store = ArtefactStore("~/a/b")
    assert not Path("home").exists()
    assert ask(store, Build()).path.is_relative_to(Path("home/a/b").absolute())


def test_a_failed_computation_stores_nothing(store: ArtefactStore) -> None:
    """The error comes through, the lock is free again, and the next call computes."""
    with pytest.raises(AssertionError, match="computed again"):
        ask(store, refuse)
    assert not list(Path("store").rglob("*.safetensors"))
    assert not ask(store, Build()).reused


# ---------------------------------------------------------------- damage


def with_header(text: str) -> bytes:
    return save({"label": np.array([0], np.int8)}, metadata={"artefact": text})


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda payload: b"",
    "torn": lambda payload: payload[: len(payload) // 2],
    "last byte lost": lambda payload: payload[:-1],
    "bytes added": lambda payload: payload + b"\0",
    "flipped byte": lambda payload: payload[:-1] + bytes([payload[-1] ^ 1]),
    "zeros": lambda payload: bytes(len(payload)),
    "edited fact": lambda payload: payload.replace(b"0.125", b"0.925"),
    "edited input": lambda payload: payload.replace(b'\\"abc\\"', b'\\"abd\\"'),
    "another program's file": lambda payload: save({"label": np.array([0], np.int8)}),
    "header not JSON": lambda payload: with_header("{"),
    "header a list": lambda payload: with_header("[1]"),
    "header without facts": lambda payload: with_header("{}"),
    "facts not a mapping": lambda payload: with_header('{"facts": 3, "checksum": ""}'),
}
damage = pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())


@damage
def test_a_damaged_file_is_named_and_rebuilt(
    change: Callable[[bytes], bytes], store: ArtefactStore, stored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is never used: a warning says which file it was, and the artefact is computed again, byte for byte."""
    intact = stored.read_bytes()
    damaged = change(intact)
    assert damaged != intact
    stored.write_bytes(damaged)
    build = Build()
    with caplog.at_level(logging.WARNING, "recbole_dtlns"):
        artefact = ask(store, build)
    assert build.calls == 1
    assert not artefact.reused
    assert f"artefact {stored} is damaged or was edited" in caplog.text
    assert stored.read_bytes() == intact
    caplog.clear()
    assert ask(store, refuse).reused
    assert not caplog.records


@damage
def test_a_damaged_file_is_refused_when_asked_to(change: Callable[[bytes], bytes], stored: Path) -> None:
    """With refuse_damaged the run stops with the file's name, and the file stays for inspection."""
    damaged = change(stored.read_bytes())
    stored.write_bytes(damaged)
    with pytest.raises(ArtefactError, match=rf"artefact {stored} is damaged.*delete the file to have it rebuilt"):
        ask(ArtefactStore("store", refuse_damaged=True), refuse)
    assert stored.read_bytes() == damaged


def test_another_artefact_under_this_name_is_damage(store: ArtefactStore, stored: Path) -> None:
    """An intact file that was copied to the name of other inputs is not their result."""
    other = ask(store, Build(), train="xyz").path
    stored.write_bytes(other.read_bytes())
    with pytest.raises(ArtefactError, match=r"its header states other inputs than its name stands for"):
        ask(ArtefactStore("store", refuse_damaged=True), refuse)


def test_every_flipped_bit_and_every_cut_is_noticed(stored: Path) -> None:
    """No byte of a file, header included, can change or be lost without notice."""
    intact = stored.read_bytes()
    store = ArtefactStore("store", refuse_damaged=True)
    flipped = (
        intact[:place] + bytes([intact[place] ^ (1 << bit)]) + intact[place + 1 :]
        for place in range(len(intact))
        for bit in range(8)
    )
    cut = (intact[:length] for length in range(len(intact)))
    for damaged in (*flipped, *cut):
        stored.write_bytes(damaged)
        with pytest.raises(ArtefactError, match="damaged"):
            ask(store, refuse)
    stored.write_bytes(intact)
    assert ask(store, refuse).reused


# ---------------------------------------------------------------- killed and concurrent processes

CHILD = """
import os, signal, sys, time
from pathlib import Path
from typing import Any
import numpy as np
from recbole_dtlns.storage.artefact_store import ArtefactStore

def die(): os.kill(os.getpid(), signal.SIGKILL)

def build():
    with open("built", "a") as file:
        file.write("x")
    {in_build}
    return {{"x": np.arange(100_000)}}, {{"n": 1}}

{before}
artefact = ArtefactStore("store").get_or_build("stage", 1, {{"a": 1}}, build)
print(artefact.digest, artefact.reused, flush=True)
"""


def building(in_build: str = "pass", before: str = "") -> str:
    """The code of a process that builds an artefact."""
    return CHILD.format(in_build=in_build, before=before)


KILLED = {
    "while computing": {"in_build": "die()"},
    "half written": {
        "before": "os.fsync = lambda file: (os.ftruncate(file, os.fstat(file).st_size // 2), die())",
    },
    "before the file gets its name": {"before": "os.replace = lambda old, new: die()"},
}


@pytest.mark.parametrize("moment", KILLED)
def test_a_process_killed_on_the_way_leaves_nothing_that_is_read(
    moment: str, store: ArtefactStore, stored: Path, caplog: pytest.LogCaptureFixture, children: Children
) -> None:
    """kill -9 while an artefact is made: no file under its name, the lock is free, and other artefacts are intact."""
    process = children.code(building(**KILLED[moment]))
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, errors
    assert list(Path("store").rglob("*.safetensors")) == [stored]
    again = store.get_or_build("stage", 1, {"a": 1}, lambda: ({"x": np.arange(100_000)}, {"n": 1}))
    assert not again.reused
    assert not caplog.records, "a leftover of the killed process is not even looked at"
    assert not list(Path("store").rglob(".*")), "and it is gone"
    assert store.get_or_build("stage", 1, {"a": 1}, refuse).digest == again.digest
    assert ask(store, refuse).reused


def test_a_process_killed_after_writing_has_written(store: ArtefactStore, children: Children) -> None:
    """kill -9 right after the file got its name: it is whole, and reused."""
    code = building(before="replace = os.replace; os.replace = lambda old, new: (replace(old, new), die())")
    process = children.code(code)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, errors
    found = store.get_or_build("stage", 1, {"a": 1}, refuse)
    np.testing.assert_array_equal(found.arrays["x"], np.arange(100_000))


def test_two_processes_that_ask_at_once_compute_once(children: Children) -> None:
    """One computes while the other waits for it, and both get the same result."""
    meet = """
Path(f"here{os.getpid()}").touch()
while len(list(Path().glob("here*"))) < 2:
    time.sleep(0.005)
"""
    processes = [children.code(building(in_build="time.sleep(0.3)", before=meet)) for _ in range(2)]
    answers = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert Path("built").read_text() == "x"
    digests, reused = zip(*(output.split() for output, _ in answers), strict=True)
    assert digests[0] == digests[1]
    assert sorted(reused) == ["False", "True"]


# ---------------------------------------------------------------- no permission, full disk


@contextmanager
def unprivileged() -> Iterator[None]:
    """The superuser, whom no permission stops, becomes nobody."""
    superuser = os.geteuid() == 0
    if superuser:
        Path().chmod(0o755)  # nobody may enter the test's folder
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


@pytest.fixture
def read_only(store: ArtefactStore, stored: Path) -> Iterator[None]:
    """Everybody may read the store, nobody may write there."""
    stored.chmod(0o444)
    folders = [store.root, stored.parent]
    for folder in folders:
        folder.chmod(0o555)
    yield
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.parametrize("other", [{"train": "other"}, {"stage": "new-stage"}], ids=["new file", "new folder"])
@pytest.mark.usefixtures("read_only")
def test_no_write_permission(other: dict[str, str], store: ArtefactStore) -> None:
    """A shared read-only store: what is in it is reused; what is not fails with what to set, before computing."""
    with unprivileged():
        assert ask(store, refuse).reused
        with pytest.raises(ArtefactError, match=r"cannot write .*no permission: set dtlns_cache_dir to a folder you"):
            ask(store, refuse, **other)
        assert ask(store, refuse).reused


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_no_read_permission(locked: str, store: ArtefactStore, stored: Path) -> None:
    """A file of someone else is not "damaged" and not computed over: the error names it, and the reason."""
    forbidden = stored if locked == "file" else stored.parent
    mode = forbidden.stat().st_mode
    forbidden.chmod(0)
    with unprivileged(), pytest.raises(ArtefactError, match=rf"cannot read {stored} .*no permission"):
        ask(store, refuse)
    forbidden.chmod(mode)
    assert ask(store, refuse).reused


def fail_with(number: int) -> Callable[..., None]:
    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full: free space there or set dtlns_cache_dir to another disk"),
        (errno.EROFS, "no permission: set dtlns_cache_dir to a folder you can write to"),
        (errno.EACCES, "no permission: set dtlns_cache_dir to a folder you can write to"),
        (errno.EIO, "check dtlns_cache_dir"),
    ],
    ids=["disk full", "read-only disk", "no permission", "input/output error"],
)
def test_failed_writing_says_what_to_do_and_keeps_the_store(
    function: str, number: int, advice: str, store: ArtefactStore, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain error with advice, no leftover, stored artefacts usable meanwhile, and it works afterwards."""
    before = sorted(store.root.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr(artefact_store.os, function, fail_with(number))
        with pytest.raises(ArtefactError) as caught:
            ask(store, Build(), train="other")
        assert ask(store, refuse).reused
    message = str(caught.value)
    assert "cannot write " in message
    assert advice in message
    assert os.strerror(number) in message
    assert message.endswith("Artefacts already stored are kept.")
    assert [path for path in sorted(store.root.rglob("*")) if path not in before and path.suffix != ".lock"] == []
    assert not ask(store, Build(), train="other").reused


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_really_full_disk(store: ArtefactStore, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's own "no space left", when the buffered bytes are written out."""

    opened = Path.open

    def on_full_disk(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if mode != "xb":
            return opened(path, mode, *arguments, **named)
        path.touch()
        return opened(Path("/dev/full"), "wb")

    monkeypatch.setattr(Path, "open", on_full_disk)
    with pytest.raises(ArtefactError, match=r"No space left on device.*the disk is full: free space there"):
        ask(store, Build(), train="other")
    assert not list(store.root.rglob(".*"))
    assert ask(store, refuse).reused


def test_a_file_where_the_folder_should_be() -> None:
    """A cache_dir that names a file is a wrong setting, said so before computing."""
    Path("store").write_text("not a folder")
    with pytest.raises(ArtefactError, match=r"cannot write store/verdicts .*check dtlns_cache_dir"):
        ask(ArtefactStore("store"), refuse)
