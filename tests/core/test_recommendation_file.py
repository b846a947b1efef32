"""Files of recommendations: the same however often their writer was killed, and never a part of one."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from processes import run

from recbole_dtlns.errors import ArtefactError, ConfigError
from recbole_dtlns.serving.recommendation_file import FORMATS, RecommendationFile, read_tokens
from recbole_dtlns.serving.recommendations import Recommendations

USERS = [f"ü{number}" for number in range(25)]
REQUEST = {"k": 3}
FEW = 4  # users in a shard


def answer(users: Sequence[str]) -> Recommendations:
    """Three items each; the first user has only two left, and a tab is part of a name."""
    items = np.array([[f"{user}\tx", f'{user} "y"', "z"] for user in users], dtype=object)
    scores = np.tile(np.array([3.5, 2.25, -1.0], np.float32), (len(users), 1))
    short = np.array(users, dtype=object) == USERS[0]
    items[short, 2], scores[short, 2] = None, -np.inf
    return Recommendations(np.array(users, dtype=object), items, scores)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".tsv":
        return pd.read_csv(path, sep="\t")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [
        (line["user_id"], item, rank, score)
        for line in lines
        for rank, (item, score) in enumerate(zip(line["item_ids"], line["scores"], strict=True), 1)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank", "score"])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("per_shard", [1, FEW, 100])
def test_every_format_holds_every_list_in_order(suffix: str, per_shard: int) -> None:
    path = Path(f"folder/recs{suffix}")
    RecommendationFile(path).write(USERS, answer, REQUEST, per_shard)
    expected = answer(USERS).table()
    pd.testing.assert_frame_equal(read(path), expected, check_dtype=False)
    assert len(expected) == 3 * len(USERS) - 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


class Stopped:
    """Answers a number of shards, then is interrupted."""

    def __init__(self, shards: int) -> None:
        self.left, self.asked = shards, 0

    def __call__(self, users: Sequence[str]) -> Recommendations:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += 1
        return answer(users)


def interrupted(path: Path, shards: int, request: dict[str, int] = REQUEST) -> None:
    with pytest.raises(KeyboardInterrupt):
        RecommendationFile(path).write(USERS, Stopped(shards), request, FEW)


@pytest.mark.parametrize("suffix", FORMATS)
def test_whoever_was_interrupted_asks_only_for_the_rest(suffix: str) -> None:
    path, whole = Path(f"recs{suffix}"), Path(f"whole{suffix}")
    RecommendationFile(whole).write(USERS, answer, REQUEST, FEW)
    interrupted(path, 3)
    assert not path.exists()
    rest = Stopped(100)
    RecommendationFile(path).write(USERS, rest, REQUEST, FEW)
    assert rest.asked == 7 - 3
    assert path.read_bytes() == whole.read_bytes()


def test_another_request_does_not_take_the_shards_of_the_first() -> None:
    path = Path("recs.tsv")
    interrupted(path, 3)
    rest = Stopped(100)
    RecommendationFile(path).write(USERS, rest, {"k": 4}, FEW)
    assert rest.asked == 7


def test_shards_that_nothing_says_the_request_of_are_made_again() -> None:
    path = Path("recs.tsv")
    interrupted(path, 3)
    Path("recs.tsv.parts/request.json").write_text("{}")
    rest = Stopped(100)
    RecommendationFile(path).write(USERS, rest, REQUEST, FEW)
    assert rest.asked == 7


def test_a_killed_writer_leaves_whole_shards() -> None:
    """Killed while it makes the fourth."""
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_recommendation_file import FEW, REQUEST, USERS, RecommendationFile, answer

def die(users):
    if users[0] == USERS[3 * FEW]:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(users)

RecommendationFile("recs.tsv").write(USERS, die, REQUEST, FEW)
"""
    killed = run("run_code", code, Path(__file__).parent)
    assert killed.returncode == -signal.SIGKILL
    rest = Stopped(100)
    RecommendationFile("recs.tsv").write(USERS, rest, REQUEST, FEW)
    assert rest.asked == 7 - 3
    pd.testing.assert_frame_equal(read(Path("recs.tsv")), answer(USERS).table(), check_dtype=False)


def test_the_file_of_before_stays_until_the_new_one_is_whole() -> None:
    path = Path("recs.jsonl")
    path.write_text("before")
    interrupted(path, 6)
    assert path.read_text() == "before"


def test_two_writers_of_one_file_are_told_apart() -> None:
    Path("recs.tsv.parts").mkdir()
    with FileLock("recs.tsv.parts/running.lock"), pytest.raises(ArtefactError, match="another process is writing"):
        RecommendationFile("recs.tsv").write(USERS, answer, REQUEST)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_shard_is_named_and_made_again(suffix: str, share: float, caplog: pytest.LogCaptureFixture) -> None:
    """A text file that was cut short at the end of a line would not look damaged."""
    path, whole = Path(f"recs{suffix}"), Path(f"whole{suffix}")
    RecommendationFile(whole).write(USERS, answer, REQUEST, FEW)
    interrupted(path, 3)
    (shard,) = Path(f"recs{suffix}.parts").glob("000001-*")
    content = shard.read_bytes()
    shard.write_bytes(content[: content.rfind(b"\n", 0, int(share * len(content)) + 1) + 1])
    rest = Stopped(100)
    RecommendationFile(path).write(USERS, rest, REQUEST, FEW)
    assert rest.asked == 7 - 2
    assert f"{shard} is damaged" in caplog.text
    assert path.read_bytes() == whole.read_bytes()


def test_unknown_formats_are_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match=r"must end in \.parquet, \.tsv or \.jsonl"):
        RecommendationFile("recs.csv")


def test_a_folder_that_cannot_be_made_is_named() -> None:
    Path("file").write_text("")
    with pytest.raises(ArtefactError, match="cannot write file/"):
        RecommendationFile("file/recs.tsv").write(USERS, answer, REQUEST)


def test_tokens_are_read_once_each_whatever_ends_the_lines() -> None:
    Path("users.txt").write_bytes("\ufeffann\r\nbö\u2028b\r\n\r\nann\r\n c ".encode())
    assert read_tokens("users.txt") == ["ann", "bö\u2028b", " c "]
    Path("users.txt").write_bytes(b"\xff")
    with pytest.raises(ArtefactError, match=r"users\.txt is not written in UTF-8"):
        read_tokens("users.txt")
    with pytest.raises(ArtefactError, match=r"cannot read none\.txt"):
        read_tokens("none.txt")
