"""recommend and embeddings as a user meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_runs import PLAIN, train, write_tiny

from recbole_dtlns import load_run
from recbole_dtlns.bridge.serving.kept_data import DATA
from recbole_dtlns.commands.command_line import main


def test_all_users_by_default(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", str(trained), "--k=4", "--output=recs.parquet"]) == 0
    run = load_run(trained)
    pd.testing.assert_frame_equal(pd.read_parquet("recs.parquet"), run.recommend(run.users, 4).table())
    assert f"at most 4 items for each of {len(run.users)} users: recs.parquet" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == ["recs.parquet"]


def test_unknown_users_are_counted_and_named_and_the_others_served(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = load_run(trained).users[5:2:-1].tolist()
    Path("users.txt").write_text("\n".join([*(f"nobody{number}" for number in range(11)), *some]))
    assert main(["recommend", str(trained), "--users=users.txt", "--k=2", "--output=recs.jsonl"]) == 0
    said = capsys.readouterr()
    assert "11 of the users asked for are unknown to the model: nobody0, " in said.err
    assert "nobody9, .... The other 3 are served" in said.err and "nobody10" not in said.err
    assert [json.loads(line)["user_id"] for line in Path("recs.jsonl").read_text().splitlines()] == some


def test_what_is_excluded_can_be_chosen(trained: Path) -> None:
    run = load_run(trained)
    user = run.users[0]
    best = [item for item, _ in next(iter(run.recommend([user], 3, None)))[1]]
    Path("users.txt").write_text(user)
    Path("bought.tsv").write_text(f"user_id\titem_id\n{user}\t{best[0]}\n{user}\tunknown\n")
    Path("stock.txt").write_text("\n".join(best[1:]))

    def recommended(*arguments: str) -> list[str]:
        command = ["recommend", str(trained), "--users=users.txt", "--k=3", "--output=recs.tsv", *arguments]
        assert main(command) == 0
        return pd.read_csv("recs.tsv", sep="\t", dtype=str)["item_id"].tolist()

    assert recommended("--exclude=none") == best
    assert recommended("--exclude=bought.tsv")[:2] == best[1:]
    assert recommended("--exclude=none", "--candidates=stock.txt") == best[1:]
    assert not set(recommended()) & set(run.history(user))
    evaluated = [item for item, _ in next(iter(run.recommend([user], 3, "evaluation")))[1]]
    assert recommended("--exclude=evaluation") == evaluated


def test_tokens_with_quotation_marks_are_left_out_as_its_own_tables_write_them() -> None:
    data = write_tiny()
    for path in Path("data/tiny").iterdir():
        head, *rows = path.read_text().splitlines()
        marked = ("\t".join(f'"""{token}"""' for token in row.split("\t")) for row in rows)
        path.write_text("\n".join([head, *marked, ""]))
    folder = str(train("BPR", data, **PLAIN).folder)
    assert load_run(folder).users[0].startswith('"')
    assert main(["recommend", folder, "--k=2", "--output=first.tsv"]) == 0
    assert main(["recommend", folder, "--k=2", "--exclude=first.tsv", "--output=second.tsv"]) == 0
    first, second = (set(Path(f"{name}.tsv").read_text().splitlines()[1:]) for name in ("first", "second"))
    pairs = [{tuple(row.split("\t")[:2]) for row in table} for table in (first, second)]
    assert not pairs[0] & pairs[1]


def test_what_is_unknown_among_the_excluded_and_the_candidates_is_counted(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load_run(trained)
    Path("bought.tsv").write_text(f"user_id\titem_id\n{run.users[0]}\t{run.items[0]}\n{run.users[0]}\t7.0\nann\tx\n")
    Path("stock.txt").write_text(f"{run.items[0]}\n\x1b[2J{'x' * 1000}\n{run.items[1]}\n")
    options = ["--exclude=bought.tsv", "--candidates=stock.txt", "--output=recs.tsv"]
    assert main(["recommend", str(trained), *options]) == 0
    said = capsys.readouterr().err
    assert "2 of 3 rows of bought.tsv name a user or an item that is unknown" in said
    assert "1 of the items asked for is unknown to the model: \\x1b[2Jxxx" in said
    assert "xxx.... The other 2 are candidates" in said and len(said) < 600


MISTAKES = [
    (["recommend", "nowhere", "--output=recs.tsv"], "nowhere is no run folder"),
    (["recommend", "{run}", "--output=recs.csv"], "must end in"),
    (["recommend", "{run}", "--output=recs.tsv", "--exclude=seen"], "--exclude=seen: it must be observed"),
    (["recommend", "{run}", "--output=recs.tsv", "--exclude=observd"], "Did you mean 'observed'?"),
    (["recommend", "{run}/best.pth", "--output=recs.tsv"], "is the run folder"),
    (["recommend", "{run}", "--output=recs.tsv", "--exclude=one.tsv"], "lacks the column user_id"),
    (["recommend", "{run}", "--output=recs.tsv", "--users=one.tsv"], "names no user of the run: 2 of the users"),
    (["recommend", "{run}", "--output=recs.tsv", "--users=none.txt"], "cannot read none.txt"),
    (["recommend", "{run}", "--output=recs.tsv", "--k=0"], "k is 0"),
    (["recommend", "{run}", "--output=recs.tsv", "--device=nonsense"], "torch cannot use the device 'nonsense'"),
    (["recommend", "{run}", "--output=recs.tsv", "--topk=3"], "recommend does not take --topk=3"),
    (["embeddings", "{run}", "--output=full"], "full is there and holds no vectors"),
    (["embeddings", "{run}", "--output=one.tsv"], "one.tsv is there and holds no vectors"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_named(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("one.tsv").write_text("user\nann\n")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    assert main([argument.format(run=trained) for argument in arguments]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(Path().glob("recs*")) and Path("full/mine.txt").read_text() == "mine"


def test_a_run_of_an_earlier_version_is_named(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained, "old")
    Path("old", DATA).unlink()
    for command in (["recommend", "old", "--output=recs.tsv"], ["embeddings", "old", "--output=vectors"]):
        assert main(command) == 2
        assert "Train again" in capsys.readouterr().err


def test_a_leaking_run_is_refused_and_marked(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(train("LightGCN", write_tiny(), dtlns_preset="authors").folder)
    for command in (["recommend", folder, "--output=recs.tsv"], ["embeddings", folder, "--output=vectors"]):
        assert main(command) == 2
        assert "--allow-leaking" in capsys.readouterr().err
        assert main([*command, "--allow-leaking"]) == 0
        assert capsys.readouterr().out.startswith("LEAKING: ")


def test_vectors_are_those_of_the_run_and_replaced_as_a_whole(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["embeddings", str(trained), "--output=vectors"]) == 0
    run = load_run(trained)
    assert (np.load("vectors/users.npy") == run.user_vectors).all()
    assert (np.load("vectors/items.npy") == run.item_vectors).all()
    assert json.loads(Path("vectors/users.json").read_text()) == run.users.tolist()
    assert json.loads(Path("vectors/items.json").read_text()) == run.items.tolist()
    assert json.loads(Path("vectors/about.json").read_text())["model"] == "LightGCN"
    assert f"vectors of {len(run.users)} users and {len(run.items)} items" in capsys.readouterr().out


def test_vectors_of_another_run_are_not_replaced_in_silence(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained, "another")
    for run, said in ((trained, ""), (trained, ""), (Path("another"), f"; replaced the vectors of {trained.name}")):
        assert main(["embeddings", str(run), "--output=vectors"]) == 0
        assert capsys.readouterr().out.rstrip().endswith(f"users.npy){said}")


def test_a_near_user_is_named_beside_the_others_that_are_served(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = load_run(trained).users[0]
    Path("users.txt").write_text(f"{user}x\n{user}\n")
    assert main(["recommend", str(trained), "--users=users.txt", "--output=recs.tsv"]) == 0
    assert f"{user}x. Did you mean '{user}'? The other 1 are served" in capsys.readouterr().err


def test_the_index_finds_what_recommend_does(trained: Path) -> None:
    """In a process of its own: faiss and torch each bring their threads."""
    pytest.importorskip("faiss")
    assert main(["embeddings", str(trained), "--output=vectors"]) == 0
    code = """
import json, faiss, numpy as np
index = faiss.read_index("vectors/items.faiss")
scores, places = index.search(np.load("vectors/users.npy"), 5)
np.savez("found.npz", scores=scores, places=places)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    found, run = np.load("found.npz"), load_run(trained)
    best = run.recommend(run.users, 5, exclude=None)
    assert (run.items[found["places"]] == best.items).all()
    np.testing.assert_allclose(found["scores"], best.scores, rtol=1e-5)


def test_a_disk_that_is_full_is_named_where_numpy_says_no_reason(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError("512 requested and 100 written")

    monkeypatch.setattr(np, "save", full)
    assert main(["embeddings", str(trained), "--output=vectors"]) == 2
    assert "cannot write vectors (512 requested and 100 written)" in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("option", ["users", "histories", "candidates"])
def test_an_option_that_names_no_file_is_refused(
    option: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(trained), f"--{option}=", "--output=recs.tsv"]) == 2
    assert f"--{option}= names no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("user_id\titem_id\nu\ti\t3\n", "hold more columns than its header names (user_id, item_id)"),
        ("user_id\titem_id\nu\ti\t\n", "hold more columns than its header names (user_id, item_id)"),
        ("user_id\titem_id:token\titem_id:float\nu\ti\t3\n", "has the column item_id twice"),
    ],
)
def test_a_table_whose_columns_cannot_be_told_is_refused(
    table: str, message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """pandas would take users for names of rows, and items for users: nothing would be left out."""
    Path("bought.tsv").write_text(table)
    assert main(["recommend", str(trained), "--exclude=bought.tsv", "--output=recs.tsv"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("recs.tsv").exists()
