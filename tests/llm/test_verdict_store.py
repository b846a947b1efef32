"""The verdict store: what was answered is there, once, whatever dies, breaks or fills up."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_judges import llm_judge
from processes import PATIENCE, Children, wait_for
from questions import random_question

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model import verdict_store
from recbole_dtlns.judges.language_model.answers import Answer, Reason
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.verdict_store import HEADER_BYTES, ROW, VerdictStore
from recbole_dtlns.llm.reply import Reply
from recbole_dtlns.llm.request import Request

IDENTITY = {"model": "a/model", "revision": None, "prompt": "abc"}


def key(number: int) -> bytes:
    """Keys as the requests have them: hashes, so that their beginnings differ."""
    return zlib.crc32(number.to_bytes(8, "little")).to_bytes(4, "little") + number.to_bytes(12, "little")


def key_array(numbers: Sequence[int]) -> np.ndarray:
    return np.frombuffer(b"".join(map(key, numbers)), dtype="<u8").reshape(-1, 2)


def answer(number: int) -> Answer:
    return Answer.of(number % 101 / 100, number)


def write(store: VerdictStore, numbers: Sequence[int]) -> Path:
    with store.writer("engine", "mode") as shard:
        for number in numbers:
            shard.append([key(number)], [answer(number)])
    return shard.path


def numbers_in(store: VerdictStore) -> set[int]:
    """Whose verdicts are there, each once and exactly as written."""
    rows = store.read().rows
    found = (rows["key"][:, 1] >> np.uint64(32) << np.uint64(32) | rows["key"][:, 0] >> np.uint64(32)).tolist()
    assert len(set(found)) == len(found)
    for number, row in zip(found, rows, strict=True):
        expected = answer(number)
        assert row["key"].tobytes() == key(number)
        assert (row["probability"], row["label"], row["tokens"]) == (
            np.float32(expected.probability),
            expected.label,
            number,
        )
    return set(found)


@pytest.fixture
def store() -> VerdictStore:
    return VerdictStore("store", IDENTITY)


# ---------------------------------------------------------------- reading what was written


def test_verdicts_are_found_by_key(store: VerdictStore) -> None:
    """Also from another object, in any order, and what was never written is not there."""
    write(store, range(50))
    write(store, range(40, 90))
    stored = VerdictStore("store", IDENTITY).read()
    asked = [89, 0, 1000, 45, 45, 10**9]
    place = stored.find(key_array(asked))
    assert (place >= 0).tolist() == [True, True, False, True, True, False]
    assert stored.rows["tokens"][place[place >= 0]].tolist() == [89, 0, 45, 45]
    assert numbers_in(store) == set(range(90))


def test_a_key_must_agree_in_both_halves(store: VerdictStore) -> None:
    """Half a key that agrees by chance does not answer for another prompt."""
    write(store, [7])
    other = key_array([7]) + np.array([[0, 1]], dtype=np.uint64)
    assert store.read().find(np.concatenate([key_array([7]), other])).tolist() == [0, -1]


def test_an_empty_set_holds_nothing(store: VerdictStore) -> None:
    """Nothing is written by looking."""
    assert len(store.read()) == 0
    assert store.read().find(key_array([1, 2])).tolist() == [-1, -1]
    assert not Path("store").exists()
    with store.writer("engine", "mode"):
        pass
    assert not list(store.folder.glob("*.verdicts")), "no shard without a verdict"


@pytest.mark.parametrize("change", [{"model": "b"}, {"revision": "1"}, {"prompt": "abd"}], ids=str)
def test_other_models_and_prompts_have_sets_of_their_own(change: dict[str, str], store: VerdictStore) -> None:
    """Their verdicts never mix."""
    write(store, [1])
    assert len(VerdictStore("store", {**IDENTITY, **change}).read()) == 0


@pytest.mark.parametrize(
    "model",
    ["../../../etc/x", "/abs/olute", "..", "", "C:\\x", "x" * 5000, "模" * 300, "😀" * 300, "a\nb\0c"],
    ids=lambda model: repr(model[:12]),
)
@pytest.mark.parametrize("revision", [None, "😀" * 3000], ids=["", "long revision"])
def test_any_name_of_a_model_will_do(model: str, revision: str | None) -> None:
    """The folder stays inside the store, and a header that would be too long does not shift the rows."""
    store = VerdictStore("store", {"model": model, "revision": revision, "prompt": "abc"})
    path = write(store, range(5))
    assert store.folder.resolve().parent == Path("store").resolve()
    assert path.stat().st_size == HEADER_BYTES + 5 * ROW.itemsize
    assert json.loads(path.read_bytes()[:HEADER_BYTES])["engine"] == "engine"
    assert json.loads((store.folder / "set.json").read_text())["model"] == model
    assert numbers_in(store) == set(range(5))


def test_an_answer_replaces_an_abstention(store: VerdictStore) -> None:
    """Asked again, in this or another process: the answer counts, the first one for good, whatever comes later."""
    unsure = Answer.abstention(Reason.MALFORMED, 1)
    for answers in ([unsure, unsure], [Answer.of(0.75, 2)], [unsure, unsure], [Answer.of(0.25, 3)]):
        with store.writer("engine", "mode") as shard:
            shard.append([key(number) for number in range(len(answers))], answers)
        shard.path.rename(shard.path.with_name(f"{len(list(store.folder.glob('*.verdicts')))}.verdicts"))
    stored = store.read()
    assert len(stored) == 2
    first, second = stored.rows[stored.find(key_array([0, 1]))]
    assert (first["probability"], first["label"], first["tokens"]) == (0.75, Label.POSITIVE, 2)
    assert (second["label"], second["reason"]) == (Label.ABSTAIN, Reason.MALFORMED)
    assert np.isnan(second["probability"])


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.binary(min_size=32, max_size=32 * 40).map(lambda data: data[: len(data) // 32 * 32]))
def test_the_checksum_is_that_of_zlib(data: bytes) -> None:
    """Computed for all rows at once, and equal to the one that the writer takes."""
    rows = np.frombuffer(data, dtype=ROW)
    expected = [zlib.crc32(data[start : start + 28]) for start in range(0, len(data), 32)]
    assert verdict_store._crc32(rows).tolist() == expected


def test_many_rows_are_checked_chunk_by_chunk(store: VerdictStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows at the borders of chunks are checked too."""
    monkeypatch.setattr(verdict_store, "_CHUNK_ROWS", 7)
    path = write(store, range(23))
    assert numbers_in(store) == set(range(23))
    content = bytearray(path.read_bytes())
    for row in (6, 7, 22):
        content[HEADER_BYTES + row * 32] ^= 1
    path.write_bytes(content)
    assert numbers_in(store) == set(range(23)) - {6, 7, 22}
    assert store.read().damaged == 3


# ---------------------------------------------------------------- damage


def test_a_torn_last_row_loses_only_itself(store: VerdictStore, caplog: pytest.LogCaptureFixture) -> None:
    """At every length that a killed process can leave behind, header included, and without a word of damage."""
    path = write(store, range(3))
    content = path.read_bytes()
    assert len(content) == HEADER_BYTES + 3 * 32
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        assert numbers_in(store) == set(range(max(0, length - HEADER_BYTES) // 32))
    assert not caplog.records


def test_every_flipped_bit_of_a_row_is_noticed(store: VerdictStore, caplog: pytest.LogCaptureFixture) -> None:
    """Only that row is lost; it is counted, and a warning names the file."""
    path = write(store, range(3))
    content = path.read_bytes()
    for place in range(32, 64):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[HEADER_BYTES + place] ^= 1 << bit
            path.write_bytes(damaged)
            assert numbers_in(store) == {0, 2}
            assert store.read().damaged == 1
    assert f"{path} holds 1 damaged verdicts; they are left out and will be asked again" in caplog.text


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"{"], ids=["zeros", "ones", "text"])
def test_a_damaged_header_loses_no_row(fill: bytes, store: VerdictStore) -> None:
    """The header is for people; the rows do not depend on it."""
    path = write(store, range(3))
    path.write_bytes(fill * HEADER_BYTES + path.read_bytes()[HEADER_BYTES:])
    assert numbers_in(store) == {0, 1, 2}


@pytest.mark.parametrize("fill", [b"\0", b"\xff"], ids=["zeros", "ones"])
def test_a_file_that_the_disk_lost_is_no_verdict(fill: bytes, store: VerdictStore) -> None:
    """Blocks of zeros, as after a power cut, have a wrong checksum."""
    path = write(store, range(3))
    path.write_bytes(path.read_bytes()[:HEADER_BYTES] + fill * 96)
    assert len(store.read()) == 0
    assert store.read().damaged == 3


# ---------------------------------------------------------------- killed processes

WRITER = """
import sys
sys.path[:0] = {path!r}
from test_verdict_store import IDENTITY, answer, key
from recbole_dtlns.judges.language_model.verdict_store import VerdictStore
with VerdictStore("store", IDENTITY).writer("engine", "mode") as shard, open("reported", "w") as reported:
    number = int(sys.argv[1])
    while True:
        group = range(number, number + number % 3 + 1)
        shard.append([key(each) for each in group], [answer(each) for each in group])
        number = group.stop
        print(number, file=reported, flush=True)
"""


def here(code: str) -> str:
    """The code of a process that imports from this file."""
    return code.format(path=[str(folder) for folder in Path(__file__).parents[:2]])


def test_what_a_killed_process_appended_is_there(
    store: VerdictStore, caplog: pytest.LogCaptureFixture, children: Children
) -> None:
    """kill -9 at random moments: every append that returned is whole, each key once, and nothing else appears."""
    moment = random.Random(0)
    expected: set[int] = set()
    start = 0
    reported = Path("reported")  # a file is what it was at the kill, however slow its reader is; a pipe is not
    for _ in range(6):
        reported.unlink(missing_ok=True)
        process = children.code(here(WRITER), start)
        wait_for(lambda: reported.exists() and reported.stat().st_size > 100, "verdicts are appended", process)
        time.sleep(moment.uniform(0, 0.05))
        process.kill()
        process.communicate()
        end = max(map(int, re.findall(r"(\d+)\n", reported.read_text())))
        found = numbers_in(store)
        assert set(range(start, end)) <= found
        late = found - expected - set(range(start, end))  # the row that was written but not yet reported
        assert late <= set(range(end, end + 3))
        expected, start = found, max(found, default=-1) + 1
    assert len(expected) > 100
    assert not caplog.records, "nothing is damaged"


# ---------------------------------------------------------------- full disk

FULL = """
import resource, sys
sys.path[:0] = {path!r}
from test_verdict_store import IDENTITY, answer, key
from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.judges.language_model.verdict_store import VerdictStore
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
done = []
try:
    with VerdictStore("store", IDENTITY).writer("engine", "mode") as shard:
        for number in range(1000):
            shard.append([key(number)], [answer(number)])
            done.append(number)
except ArtefactError as error:
    print(len(done), error)
"""


@pytest.mark.parametrize(
    "room", [600, HEADER_BYTES, HEADER_BYTES + 13, HEADER_BYTES + 32 * 40, HEADER_BYTES + 32 * 40 + 31]
)
def test_a_full_disk_stops_with_a_plain_error(room: int, store: VerdictStore, children: Children) -> None:
    """In the header, between rows and inside one: rows before stay, the error says what to do, and a rerun goes on."""
    write(store, [2000])
    output, errors = children.code(here(FULL), room).communicate(timeout=PATIENCE)
    count, _, message = output.partition(" ")
    assert int(count) == max(0, room - HEADER_BYTES) // 32, errors
    assert re.fullmatch(r"cannot write .*\.verdicts \(.*\): free space there, or set dtlns_cache_dir to .*\n", message)
    assert numbers_in(store) == {2000, *range(int(count))}
    write(store, range(100))
    assert numbers_in(store) == {2000, *range(max(100, int(count)))}


def test_appending_after_a_failure_keeps_the_rows_in_place(
    store: VerdictStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space was freed meanwhile: what could not be written is cut off, the next row follows the last whole one."""
    written = os.write
    with store.writer("engine", "mode") as shard:
        for number in range(6):
            with monkeypatch.context() as patched:
                if number % 2:
                    patched.setattr(os, "write", lambda file, data: written(file, data[: len(data) // 2]))
                    with pytest.raises(ArtefactError, match="No space left on device"):
                        shard.append([key(number)], [answer(number)])
                else:
                    shard.append([key(number)], [answer(number)])
    assert numbers_in(store) == {0, 2, 4}
    assert store.read().damaged == 0


def test_a_header_that_could_not_be_written_is_written_again(
    store: VerdictStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard without its header would have its rows in the wrong place."""
    written = os.write
    with store.writer("engine", "mode") as shard:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda file, data: written(file, data[:100]))
            with pytest.raises(ArtefactError, match="No space left on device"):
                shard.append([key(1)], [answer(1)])
        shard.append([key(2)], [answer(2)])
    assert numbers_in(store) == {2}


# ---------------------------------------------------------------- several processes


class CountingEngine:
    """Answers by rule, slowly, and notes every request it answered in a file that all processes append to."""

    name, model, mode, truncated = "counting", "a/model", "text", 0
    least_slice, local, loads_model = 1, False, False

    def __init__(self, text: str = "yes", every: int = 0, pause: float = 0.0) -> None:
        self.text = text
        self.every = every
        self.pause = pause

    def revision(self) -> None:
        return None

    @contextmanager
    def start(self) -> Iterator[CountingEngine]:
        yield self

    def encoder(self) -> None:
        return None

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for position, request in enumerate(requests):
            with Path("asked").open("a") as file:
                file.write(request.id + "\n")
            time.sleep(self.pause)
            unusable = self.every and position % self.every == 0
            yield position, Reply(text="perhaps" if unusable else self.text, tokens=3)


def asked() -> list[str]:
    return Path("asked").read_text().split()


ASKER = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from llm_judges import llm_judge
from questions import random_question
from test_verdict_store import CountingEngine
Path("here" + sys.argv[1]).touch()
while len(list(Path().glob("here*"))) < 2:
    time.sleep(0.005)
judge = llm_judge(CountingEngine(pause=0.01))
print(judge.judge(random_question()).counts())
"""


def test_two_processes_at_once_ask_nothing_twice(children: Children) -> None:
    """The second one waits for the first, and then finds its verdicts."""
    processes = [children.code(here(ASKER), number) for number in range(2)]
    answers = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert [output for output, _ in answers] == [answers[0][0]] * 2
    assert "'positive': 24" in answers[0][0]
    assert len(asked()) == len(set(asked())) == 24


def test_a_process_that_waits_says_so(store: VerdictStore, caplog: pytest.LogCaptureFixture) -> None:
    """A run that stands still tells why; a free set says nothing."""
    with caplog.at_level(logging.INFO, "recbole_dtlns"):
        lock = store.lock()
        assert "another process" not in caplog.text
        with lock:
            VerdictStore("store", IDENTITY).lock()
        assert "another process is asking the same model: waiting for it to finish" in caplog.text


def test_the_lock_of_a_killed_process_is_free(store: VerdictStore, children: Children) -> None:
    """kill -9 while asking: the next run starts at once."""
    code = """
import sys, time
sys.path[:0] = {path!r}
from test_verdict_store import IDENTITY
from recbole_dtlns.judges.language_model.verdict_store import VerdictStore
with VerdictStore("store", IDENTITY).lock():
    print("locked", flush=True)
    time.sleep(1e4)
"""
    process = children.code(here(code))
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    process.kill()
    process.communicate()
    with store.lock().acquire(timeout=0):
        pass


# ---------------------------------------------------------------- asking again, and the label card


def judge(engine: CountingEngine, **named: Any) -> LLMJudge:
    return llm_judge(engine, max_abstain_rate=1.0, **named)


def card(verdicts: Any) -> dict[str, str]:
    text = (Path(verdicts.facts["verdict_set"]) / "LABELS.md").read_text()
    return dict(re.findall(r"^\| (.+?) \| (.*?) \|$", text, re.MULTILINE))


def test_abstentions_are_asked_again_only_when_wanted() -> None:
    """By default nothing is paid twice; with `reask_abstained` only abstentions are, and their answers count."""
    question = random_question()
    first = judge(CountingEngine(every=4)).judge(question)
    assert first.counts() == {"negative": 0, "positive": 18, "abstain": 6}
    assert first.abstained == {Reason.MALFORMED.sentence: 6}
    assert judge(CountingEngine()).judge(question).counts() == first.counts()
    assert len(asked()) == 24
    again = judge(CountingEngine("no"), reask_abstained=True).judge(question)
    assert again.counts() == {"negative": 6, "positive": 18, "abstain": 0}
    assert len(asked()) == 30
    assert judge(CountingEngine(), reask_abstained=True).judge(question).counts() == again.counts()
    assert len(asked()) == 30


def test_the_label_card_counts_the_verdicts() -> None:
    """What a set holds, what it cost and what it was made with, also after a second round and damage."""
    question = random_question()
    first = card(judge(CountingEngine(every=4)).judge(question))
    expected = {
        "model": "a/model",
        "revision": "not stated",
        "prompt (SHA-256)": Prompt.load("pair").digest,
        "answered by, as the server says": "not stated",
        "verdicts": "24",
        "negative": "0",
        "positive": "18",
        "abstain": "6",
        "positive rate of the answered": "100.0%",
        f"abstained: {Reason.MALFORMED.sentence}": "6",
        "probability: minimum, quartiles, maximum": "1.000, 1.000, 1.000, 1.000, 1.000",
        "tokens computed": "72",
        "damaged rows left out": "0",
        "last round: mode": "text",
        "last round: requests, verdicts, tokens": "24, 24, 72",
        "last round: prompts that lost their oldest items": "0",
    }
    assert first == expected
    (shard,) = Path("store").rglob("*.verdicts")
    content = bytearray(shard.read_bytes())
    content[HEADER_BYTES + 32 * 5] ^= 1  # the sixth answer, a yes
    shard.write_bytes(content)
    second = card(judge(CountingEngine("no"), reask_abstained=True).judge(question))
    changed = {
        "negative": "7",
        "positive": "17",
        "abstain": "0",
        "positive rate of the answered": "70.8%",
        "probability: minimum, quartiles, maximum": "0.000, 0.000, 1.000, 1.000, 1.000",
        "damaged rows left out": "1",
        "last round: requests, verdicts, tokens": "7, 7, 21",
    }
    del expected[f"abstained: {Reason.MALFORMED.sentence}"]
    assert second == {**expected, **changed}
