"""Labels and candidates that somebody already has: read by token, checked against the data, never guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from block_data import block_interactions

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges.contract import Label, Question
from recbole_dtlns.judges.recorded import RecordedJudge
from recbole_dtlns.llm.batch_files import RecordedReplies
from recbole_dtlns.teachers.candidate_file import read_candidates
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees.item_tree import ItemTree

TRAIN = block_interactions(blocks=2, users=2, items=4, missing=2)


def question() -> Question:
    """Every unobserved pair is a candidate."""
    users, items = np.nonzero(TRAIN.matrix.toarray() == 0)
    zeros = np.zeros(len(users))
    tree = ItemTree.from_paths(["0"] * TRAIN.n_items)
    candidates = Candidates(users.astype(np.int32), items.astype(np.int32), zeros.astype(np.int32), zeros)
    return Question(TRAIN, candidates, {"structure": tree, "semantic": tree})


def tokens(pair: int) -> tuple[str, str]:
    asked = question().candidates
    return str(TRAIN.user_tokens[asked.users[pair]]), str(TRAIN.item_tokens[asked.items[pair]])


def write(rows: list[tuple[str, ...]], *columns: str, file: str = "labels.tsv") -> str:
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", *columns])
    if file.endswith("parquet"):
        frame.to_parquet(file)
    else:
        frame.to_csv(file, sep="\t", index=False)
    return file


@pytest.mark.parametrize("file", ["labels.tsv", "labels.parquet"])
def test_labels_and_probabilities_are_looked_up(file: str) -> None:
    rows = [(*tokens(2), "positive", "0.9"), (*tokens(0), "negative", "0.2"), (*tokens(1), "abstain", "")]
    verdicts = RecordedJudge(labels=write(rows, "label", "probability", file=file)).judge(question())
    assert verdicts.label[:4].tolist() == [Label.NEGATIVE, Label.ABSTAIN, Label.POSITIVE, Label.ABSTAIN]
    assert verdicts.probability[:3] == pytest.approx([0.2, np.nan, 0.9], nan_ok=True)
    n = len(question().candidates)
    assert verdicts.abstained == {"not in the file": n - 3, "recorded as an abstention": 1}


@pytest.mark.parametrize("odd", ['the "Big" one', '"', '"all of it"', '""', "it's"])
def test_labels_of_tokens_with_quotation_marks_are_found(odd: str) -> None:
    """As tables write them, which `recbole-dtlns judge` does too, and as they are."""
    asked = question()
    user_tokens = TRAIN.user_tokens.astype(object)
    user_tokens[asked.candidates.users[0]] = odd
    asked = replace(asked, train=replace(TRAIN, user_tokens=user_tokens))
    item = tokens(0)[1]
    Path("bare.tsv").write_text(f"user_id\titem_id\n{odd}\t{item}\n")
    for file in (write([(odd, item)]), "bare.tsv", write([(odd, item)], file="labels.parquet")):
        verdicts = RecordedJudge(labels=file).judge(asked)
        assert verdicts.label[0] == Label.POSITIVE and verdicts.facts["found"] == 1, file


def test_a_file_of_pairs_alone_lists_positives() -> None:
    file = write([tokens(1), tokens(3), ("nobody", "nothing")])
    verdicts = RecordedJudge(labels=file, missing="negative").judge(question())
    assert np.flatnonzero(verdicts.label == Label.POSITIVE).tolist() == [1, 3]
    assert verdicts.counts()["abstain"] == 0
    assert verdicts.facts["rows_of_unknown"] == 1 and verdicts.facts["found"] == 2


def test_the_threshold_turns_probabilities_into_labels() -> None:
    file = write([(*tokens(0), "0.3"), (*tokens(1), "0.7")], "probability")
    assert RecordedJudge(labels=file, threshold=0.3).judge(question()).label[:2].tolist() == [1, 1]
    assert RecordedJudge(labels=file, threshold=0.5).judge(question()).label[:2].tolist() == [0, 1]


def test_candidates_that_the_file_does_not_name_are_negative_or_not_answered() -> None:
    """Negative for sure, or no answer at all; which of the two is counted as an abstention."""
    file = write([(*tokens(1), "0.7")], "probability")
    n = len(question().candidates)
    abstaining, negative = (
        RecordedJudge(labels=file, missing=missing).judge(question()) for missing in ("abstain", "negative")
    )
    others = np.arange(n) != 1
    assert np.isnan(abstaining.probability[others]).all() and (abstaining.label[others] == Label.ABSTAIN).all()
    assert (negative.probability[others] == 0).all() and (negative.label[others] == Label.NEGATIVE).all()
    assert abstaining.probability[1] == negative.probability[1] == np.float32(0.7)
    assert (abstaining.abstained, negative.abstained) == ({"not in the file": n - 1}, {})


def test_labels_without_probabilities_are_certain() -> None:
    """One, nought, or none; a file that names every candidate leaves nothing out."""
    n = len(question().candidates)
    given = ["negative", "positive", " Abstain ", "1", *["0"] * (n - 4)]
    verdicts = RecordedJudge(labels=write([(*tokens(pair), label) for pair, label in enumerate(given)], "label")).judge(
        question()
    )
    assert verdicts.probability == pytest.approx([0, 1, np.nan, 1, *[0] * (n - 4)], nan_ok=True)
    assert verdicts.label.tolist() == [0, 1, 2, 1, *[0] * (n - 4)]
    assert verdicts.abstained == {"recorded as an abstention": 1}
    assert verdicts.facts == {"file": "labels.tsv", "rows": n, "rows_of_unknown": 0, "found": n}
    sure = RecordedJudge(labels=write([(*tokens(pair), "positive") for pair in range(n)], "label")).judge(question())
    assert sure.abstained == {}


def test_both_ends_of_probability_are_probabilities() -> None:
    verdicts = RecordedJudge(labels=write([(*tokens(0), "0"), (*tokens(1), "1")], "probability")).judge(question())
    assert verdicts.probability[:2].tolist() == verdicts.label[:2].tolist() == [0, 1]


def test_a_pair_may_be_written_twice_where_both_say_the_same() -> None:
    """Other pairs' labels do not matter; the first two lines that contradict each other are named."""
    agreed = [(*tokens(0), "1"), (*tokens(3), "0"), (*tokens(0), "1"), (*tokens(5), "1")]
    verdicts = RecordedJudge(labels=write(agreed, "label")).judge(question())
    assert verdicts.label[[0, 3, 5]].tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"line 6: the pair has another label than in .* line 5"):
        RecordedJudge(labels=write([*agreed, (*tokens(5), "0")], "label")).judge(question())


def test_tokens_are_compared_as_text_and_headers_may_name_types() -> None:
    train = TrainInteractions.from_tokens(np.array(["007", "7", "7"]), np.array(["1", "NA", "1.0"]))
    pairs = Candidates(*(np.array(column, dtype=np.int32) for column in ([0, 0], [1, 2], [0, 1], [0, 0])))
    tree = ItemTree.from_paths(["0", "0", "0"])
    Path("labels.tsv").write_text("item_id:token\tuser_id:token\nNA\t007\n1.0\t7\n")
    verdicts = RecordedJudge(labels="labels.tsv").judge(Question(train, pairs, {"structure": tree, "semantic": tree}))
    asked = list(zip(train.user_tokens[pairs.users], train.item_tokens[pairs.items], strict=True))
    assert [label == Label.POSITIVE for label in verdicts.label] == [pair == ("007", "NA") for pair in asked]


@pytest.mark.parametrize(
    ("rows", "columns", "problem"),
    [
        ([(*tokens(0), "maybe")], ["label"], "labels.tsv, line 2: 'maybe'"),
        ([(*tokens(0), "0.5"), (*tokens(1), "1.5")], ["probability"], "labels.tsv, line 3: '1.5'"),
        ([(*tokens(0), "")], ["probability"], "line 2: ''"),
        (
            [(*tokens(0), "1"), (*tokens(1), "1"), (*tokens(0), "0")],
            ["label"],
            "line 4: the pair has another label than in .* line 2",
        ),
        (
            [(*tokens(0), "0.9"), (*tokens(1), "0.9"), (*tokens(0), "0.6")],
            ["probability"],
            "line 4: the pair has another probability than in .* line 2",
        ),
        ([("a", "b")], [], "none of the 1 rows"),
        ([(str(TRAIN.user_tokens[0]), str(TRAIN.item_tokens[TRAIN.matrix.indices[0]]))], [], "dtlns_candidates_file"),
    ],
)
def test_files_that_cannot_be_right_are_refused(rows: list[tuple[str, ...]], columns: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        RecordedJudge(labels=write(rows, *columns)).judge(question())


def test_missing_columns_and_files_are_named() -> None:
    Path("labels.tsv").write_text("user\titem\n1\t2\n")
    with pytest.raises(DataError, match="lacks the column user_id and item_id; its columns are user, item"):
        RecordedJudge(labels="labels.tsv").judge(question())
    with pytest.raises(DataError, match=r"none\.tsv"):
        RecordedJudge(labels="none.tsv").inputs()
    with pytest.raises(DataError, match=r"none\.parquet"):
        RecordedJudge(labels="none.parquet").judge(question())
    Path("labels.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"cannot read labels\.parquet"):
        RecordedJudge(labels="labels.parquet").judge(question())


def test_the_file_is_part_of_the_verdicts_key() -> None:
    first = RecordedJudge(labels=write([tokens(0)])).inputs()
    assert first != RecordedJudge(labels=write([tokens(1)])).inputs()
    assert first == RecordedJudge(labels=write([tokens(0)], file="copy.tsv")).inputs()


def test_recorded_needs_a_file_and_replies_need_a_model() -> None:
    with pytest.raises(ConfigError, match="dtlns_judge_labels"):
        RecordedJudge()
    with pytest.raises(ConfigError, match="dtlns_judge_model"):
        RecordedReplies(labels="replies.jsonl")


def test_candidates_are_read_in_the_order_of_their_ranks() -> None:
    user = str(TRAIN.user_tokens[0])
    seen = str(TRAIN.item_tokens[TRAIN.matrix.indices[0]])
    free = [str(TRAIN.item_tokens[item]) for item in np.flatnonzero(TRAIN.matrix.toarray()[0] == 0)[:3]]
    other = tokens(len(question().candidates) - 1)
    rows = [
        (*other, "0"),
        (user, free[1], "7"),
        (user, free[0], "3"),
        (user, seen, "1"),
        (user, free[0], "9"),
        ("x", "y", "0"),
    ]
    candidates, facts = read_candidates(write(rows, "rank"), TRAIN)
    assert [str(TRAIN.item_tokens[item]) for item in candidates.items[:2]] == free[:2]
    assert candidates.ranks.tolist() == [0, 1, 0]
    assert candidates.scores.tolist() == [1.0, 0.5, 1.0]
    assert facts == {"rows_of_unknown": 1, "rows_observed_in_train": 1, "rows_repeated": 1}


def test_candidates_without_ranks_follow_scores_or_the_file() -> None:
    user = str(TRAIN.user_tokens[0])
    free = [str(TRAIN.item_tokens[item]) for item in np.flatnonzero(TRAIN.matrix.toarray()[0] == 0)[:3]]
    by_score, _ = read_candidates(write([(user, free[0], "0.1"), (user, free[1], "0.8")], "score"), TRAIN)
    assert [str(TRAIN.item_tokens[item]) for item in by_score.items] == [free[1], free[0]]
    assert by_score.scores.tolist() == pytest.approx([0.8, 0.1])
    by_line, _ = read_candidates(write([(user, free[1]), (user, free[0])]), TRAIN)
    assert [str(TRAIN.item_tokens[item]) for item in by_line.items] == [free[1], free[0]]


@pytest.mark.parametrize(
    ("row", "columns", "problem"),
    [
        ((*tokens(0), "first"), ["rank"], "line 2: the rank 'first' is not a number"),
        ((str(TRAIN.user_tokens[0]), str(TRAIN.item_tokens[TRAIN.matrix.indices[0]])), [], "observed in train"),
    ],
)
def test_candidates_that_cannot_be_right_are_refused(row: tuple[str, ...], columns: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_candidates(write([row], *columns), TRAIN)


def test_the_published_labels_load(sports: Path) -> None:
    """All published labels are found among the published candidates, and 93.8 % of these are positive."""
    pairs = pd.read_csv(sports / "sports.train.inter", sep="\t", dtype=str).iloc[:, :2].to_numpy().T
    train = TrainInteractions.from_tokens(*pairs)
    candidates, facts = read_candidates(sports / "candidates.tsv", train)
    trees = {
        name: ItemTree.from_file(sports / f"{name}_paths.tsv", train.item_tokens)[0]
        for name in ("structure", "semantic")
    }
    asked = Question(train, candidates, trees)
    verdicts = RecordedJudge(labels=str(sports / "llama31_8b_positive.tsv"), missing="negative").judge(asked)
    assert facts == {"rows_of_unknown": 0, "rows_observed_in_train": 0, "rows_repeated": 0}
    assert len(candidates) == 20 * 10_507 and verdicts.facts["rows"] == 193_550
    assert verdicts.counts()["positive"] == 193_550 == verdicts.facts["found"]
