"""RecBole's ways of loading and splitting data keep working, features survive pandas 3, odd data is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_data import block_pairs, write_inter
from tiny_runs import PLAIN, observed, plain_recbole_loaders, train, write_tiny

from recbole_dtlns import prepare_only
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import ConfigError, DataError

INTER_ONLY = {"data_path": "data", "load_col": {"inter": ["user_id", "item_id"]}}


def write_timed(name: str = "timed") -> dict[str, Any]:
    """A data set with a time and a rating for every pair."""
    users, items = block_pairs()
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += [
        f"{user}\t{item}\t{1 + place % 5}\t{1000 - place}"
        for place, (user, item) in enumerate(zip(users, items, strict=True))
    ]
    path = Path("data") / name / f"{name}.inter"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    return {"data_path": "data", "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}


@pytest.mark.parametrize(
    "eval_args",
    [
        {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user"},
        {"split": {"RS": [0.7, 0.2, 0.1]}, "order": "TO", "group_by": "none"},
        {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"},
        {"split": {"TS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user"},
        {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "uni20"},
    ],
    ids=["random", "time", "leave one out", "time ratios", "sampled evaluation"],
)
def test_splits_are_those_of_recbole(eval_args: dict[str, Any]) -> None:
    keys = {**write_timed(), "eval_args": eval_args}
    run = train("BPR", keys, dataset="timed")
    plain = plain_recbole_loaders("BPR", "timed", keys)
    ours = (run.data.train_loader, run.data.valid_loader, run.data.test_loader)
    for mine, theirs in zip(ours, plain, strict=True):
        assert observed(mine._dataset) == observed(theirs._dataset)
    assert run.result["test_result"]


def test_added_rows_carry_every_column() -> None:
    """Numbers get the mean of the split; general recommenders read only user and item."""
    run = train("BPR", write_timed(), dataset="timed", dtlns_relabel_top=0)
    rows, train_rows = run.data.train_loader._rows, run.train.inter_feat
    assert len(rows) > len(train_rows)
    assert set(rows.columns) == set(train_rows.columns)
    assert torch.allclose(rows["rating"][len(train_rows) :], train_rows["rating"].mean())


def test_filters_apply_before_anything_else() -> None:
    users, items = block_pairs()
    rare = np.append(users, "once"), np.append(items, items[0])
    write_inter(Path("data/rare/rare.inter"), *rare)
    run = train("BPR", INTER_ONLY, dataset="rare", user_inter_num_interval="[5,inf)")
    assert "once" not in run.train.field2token_id["user_id"]
    assert run.preparation is not None and "once" not in run.preparation.train.user_tokens


@pytest.mark.parametrize("kind", ["item", "user"])
def test_features_with_missing_values_survive_pandas_3(kind: str) -> None:
    """Missing tokens become padding, missing numbers the mean, missing sequences empty."""
    pairs = dict(zip(("user", "item"), block_pairs(blocks=2), strict=True))
    write_inter(Path("data/features/features.inter"), *pairs.values())
    names, key = sorted(set(pairs[kind])), f"{kind}_id"
    rows = [f"{key}:token\tcolour:token\tprice:float\tgenres:token_seq"]
    rows += [f"{names[0]}\tred\t1.0\ta b", f"{names[1]}\t\t\t", f"{names[2]}\tblue\t3.0\tb"]
    rows += [f"{name}\tred\t\ta" for name in names[3:]]
    Path(f"data/features/features.{kind}").write_text("\n".join(rows) + "\n")
    columns = {"inter": ["user_id", "item_id"], kind: [key, "colour", "price", "genres"]}
    run = train("BPR", {"data_path": "data", "load_col": columns}, dataset="features")
    dataset = run.train
    known, missing, blue = (dataset.token2id(key, name) for name in names[:3])
    features = dataset.get_item_feature() if kind == "item" else dataset.get_user_feature()
    assert dataset.id2token("colour", features["colour"][known]) == "red"
    assert features["colour"][[missing, 0]].tolist() == [0, 0]
    assert features["price"][[known, missing, blue]].tolist() == [1.0, 2.0, 3.0]
    rows_of_ids = features["genres"][[known, missing, blue]]
    genres = [[dataset.id2token("genres", entry) for entry in row.tolist() if entry] for row in rows_of_ids]
    assert genres == [["a", "b"], [], ["b"]]
    assert (features["colour"] >= 0).all() and torch.isfinite(features["price"]).all()


def test_item_features_follow_the_chosen_negative() -> None:
    users, items = block_pairs(blocks=2)
    write_inter(Path("data/features/features.inter"), users, items)
    names = sorted(set(items))
    rows = [f"{name}\t{place}" for place, name in enumerate(names)]
    Path("data/features/features.item").write_text("item_id:token\tprice:float\n" + "\n".join(rows) + "\n")
    columns = {"inter": ["user_id", "item_id"], "item": ["item_id", "price"]}
    run = train("BPR", {"data_path": "data", "load_col": columns}, dataset="features")
    seen = []
    step_loss = run.trainer.model.calculate_loss
    run.trainer.model.calculate_loss = lambda batch: seen.append(batch) or step_loss(batch)
    with quiet_recbole():
        run.trainer._train_epoch(run.data.train_loader, 0)
    prices = run.train.get_item_feature()["price"]
    for batch in seen:
        assert torch.equal(batch["neg_price"], prices[batch["neg_item_id"]])


def test_callbacks_hear_of_every_evaluation(tiny: dict[str, Any]) -> None:
    """`fit(callback_fn=)` is how RecBole's users report to a search; `last.pth` is written by the time it is called."""
    run = train("BPR", tiny)
    trainer, heard = run.trainer, []
    trainer.epochs = 4

    def callback(epoch: int, score: float) -> None:
        heard.append((epoch, torch.load(run.folder / "last.pth", weights_only=True)["epoch"], score))

    trainer.fit(run.data.train_loader, run.data.valid_loader, verbose=False, callback_fn=callback)
    assert [entry[:2] for entry in heard] == [(epoch, epoch) for epoch in range(4)]
    assert max(score for *_, score in heard) == trainer.best_valid_score


def test_nothing_is_printed_without_progress(tiny: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """All that a run says goes through the log; the program that runs it here has handlers of its own."""
    train("BPR", tiny, show_progress=False)
    assert capfd.readouterr() == ("", "")


def test_tensorboard_and_log_are_written_as_by_recbole(tiny: dict[str, Any]) -> None:
    train("BPR", tiny)
    assert list(Path("log_tensorboard").rglob("events.*"))
    assert "test result" in next(Path("log/BPR").glob("*.log")).read_text()


def test_recboles_pickled_caches_are_named_and_ignored(tiny: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    train("BPR", tiny, save_dataset=True, save_dataloaders=True)
    assert "save_dataset is ignored" in caplog.text and "save_dataloaders is ignored" in caplog.text
    assert not list(Path().rglob("*Dataset.pth"))


# --- data that cannot be used, or only in part ---


def settings_of(pairs: list[tuple[str, str]], name: str = "odd") -> dict[str, Any]:
    users, items = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.array([]),) * 2
    write_inter(Path(f"data/{name}/{name}.inter"), users, items)
    return INTER_ONLY


SEVERAL = [(f"u{user}", f"i{item}") for user in range(6) for item in range(9) if (user + item) % 3]


@pytest.mark.parametrize("preset", ["clean", "off"])
@pytest.mark.parametrize(
    ("pairs", "settings", "message"),
    [
        ([("a", "x")] * 4, {}, "have seen all 1 items"),
        ([("a", f"i{item}") for item in range(9)] + [("b", "i1")] * 3, {}, "the first: 'a'"),
        (SEVERAL, {"user_inter_num_interval": "[100,inf)"}, "empty"),
    ],
    ids=["one item", "a user who has seen everything", "all filtered away"],
)
def test_data_that_cannot_be_trained_on(
    pairs: list[tuple[str, str]], settings: dict[str, Any], message: str, preset: str
) -> None:
    with pytest.raises(DataError, match=message):
        train("BPR", {**settings_of(pairs), **settings}, dataset="odd", dtlns_preset=preset)


def test_duplicates_are_merged_and_counted() -> None:
    run = train("BPR", settings_of(SEVERAL + SEVERAL[:7]), dataset="odd")
    assert run.preparation is not None
    train_pairs = len(run.train.inter_feat)
    assert run.preparation.train.matrix.nnz + run.preparation.train.duplicates == train_pairs
    assert "duplicate pairs merged" in run.preparation.summary()


def test_fewer_items_than_a_leaf_holds_is_one_leaf() -> None:
    run = train("LightGCN", settings_of(SEVERAL), dataset="odd")
    assert run.preparation is not None
    assert set(run.preparation.structure.paths) == set(run.preparation.semantic.paths) == {"0"}


def test_users_left_without_a_negative_keep_their_false_negatives_drawable(caplog: pytest.LogCaptureFixture) -> None:
    run = train("BPR", settings_of(SEVERAL), dataset="odd", dtlns_judge="always", dtlns_candidates=100)
    assert "would have no negative left" in caplog.text
    assert run.result["test_result"]


def test_all_users_with_a_train_item_get_candidates(tiny: dict[str, Any]) -> None:
    run = train("BPR", tiny, **{**PLAIN, "dtlns_preset": "clean", "dtlns_sampler": "dtlns"})
    assert run.preparation is not None
    users = run.preparation.artefacts["teacher"].arrays["users"]
    assert set(users.tolist()) == set(range(run.preparation.train.n_users))


@pytest.mark.parametrize("preset", ["clean", "off"])
def test_vectors_that_no_memory_holds_are_counted(preset: str) -> None:
    """Before anything is prepared; models without vectors have none to count."""
    wide = {**settings_of(SEVERAL), "embedding_size": 10**12}
    message = (
        r"embedding_size is 10+: the vectors of 6 users and 9 items take 68000000000000 bytes .*Set embedding_size"
    )
    with pytest.raises(ConfigError, match=message):
        train("BPR", wide, dataset="odd", dtlns_preset=preset)
    assert train("Pop", wide, dataset="odd", dtlns_preset="off").result["test_result"]


def test_so_are_those_of_a_teacher() -> None:
    Path("teacher.yaml").write_text("embedding_size: 1000000000000\n")
    keys = {"dtlns_teacher": "BPR", "dtlns_teacher_config_files": ["teacher.yaml"]}
    with pytest.raises(ConfigError, match=r"embedding_size is 10+: the vectors of 6 users"):
        train("BPR", {**settings_of(SEVERAL), **keys}, dataset="odd")


# --- files that are no atomic files ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item_id\na,x\n", r"first line is 'user_id,item_id'. It must .*recbole-dtlns convert"),
        ("user_id:token,item_id:token\na,x\n", r"with tabs between them, such as 'user_id:token\\t"),
        ("user_id\titem_id\na\tx\n", r"'user_id\\titem_id'.*\(token, token_seq, float, float_seq\)"),
        ("user_id:token:x\titem_id:token\na\tx\n", r"must name every column and its type"),
        ("user_id:string\titem_id:token\na\tx\n", r"user_id:string; the types are token"),
        ("user_id:token\tuser_id:token\na\tx\n", r"names a column twice"),
        ("user:token\titem_id:token\na\tx\n", r"no column user_id; it has user, item_id.*USER_ID_FIELD"),
        ("user_id:token\tproduct:token\na\tx\n", r"no column item_id.*ITEM_ID_FIELD"),
        ("user_id:token\titem_id:token", r"no rows below it"),
        ("", r"must name every column and its type"),
        ("user_id:token\titem_id:token\nJ\xfcrgen\tx\n", r"not text in UTF-8"),
        ("user_id:token\titem_id:token\na\tx\nb\ty\tz\n", r"line 3, has more fields than the first line names .2."),
        ('user_id:token\titem_id:token\na\tx\n"b\ty\nc\tz\n', r"line 3, has a quotation mark that would swallow what"),
        (
            'user_id:token\titem_id:token\na\tx\n"b\ty\nc\tz"\nd\tx\n',
            r"line 3, has a quot.* would end in line 4.*twice",
        ),
        ('user_id:token\titem_id:token\na\tx\nb\t"y\nc"\tz\nd\tx\n', r"line 3, has a quot.* would end in line 4"),
        ('user_id:token\titem_id:token\na\tx\n"b\ty"\nc\tz\n', r"line 3, has a quotation mark"),
        ('user_id:token\titem_id:token\na\tx\n"b"c\ty\n', r"line 3, has a quotation mark"),
    ],
)
def test_a_file_that_is_no_atomic_file_is_told_what_it_must_read(text: str, message: str) -> None:
    path = Path("data/odd/odd.inter")
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message) as raised:
        train("BPR", INTER_ONLY, dataset="odd")
    assert "data/odd/odd.inter" in str(raised.value)


@pytest.mark.parametrize("name", ['"a ""b"""', '5" disk', 'disk"', '"a\tb"', '"a\nb"', '"a\r\nb"'])
def test_quotation_marks_that_swallow_nothing_are_read_as_by_recbole(name: str) -> None:
    """Tables written by pandas or a spreadsheet hold them: around separators, line breaks and other marks."""
    settings = settings_of([(name if user == "u1" else user, item) for user, item in SEVERAL])
    keys = {**settings, "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user"}}
    run = train("BPR", keys, dataset="odd")
    plain = plain_recbole_loaders("BPR", "odd", keys)[0]._dataset
    assert list(run.train.field2id_token["user_id"]) == list(plain.field2id_token["user_id"])
    assert observed(run.train) == observed(plain)
    assert run.train.user_num == 7


def test_a_stray_mark_in_an_item_file_is_named() -> None:
    settings = settings_of(SEVERAL)
    rows = [f"i{item}\t{chr(34) if item in (2, 5) else ''}Lamp" for item in range(9)]
    Path("data/odd/odd.item").write_text("item_id:token\ttitle:token_seq\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"odd\.item, line 4, has a quotation mark that would swallow what follows"):
        train("BPR", {**settings, "load_col": {**INTER_ONLY["load_col"], "item": ["item_id"]}}, dataset="odd")


def test_an_item_file_is_checked_where_it_is_loaded() -> None:
    settings = settings_of(SEVERAL)
    Path("data/odd/odd.item").write_text("item_id,title\ni1,A lamp\n")
    with pytest.raises(DataError, match=r"odd.item is no atomic file.*title:token_seq"):
        train("BPR", {**settings, "load_col": {**INTER_ONLY["load_col"], "item": ["item_id"]}}, dataset="odd")
    assert train("BPR", settings, dataset="odd").result["test_result"]


def test_users_and_items_cannot_be_left_unloaded() -> None:
    with pytest.raises(DataError, match="leaves out user_id, which every model needs"):
        train("BPR", {**settings_of(SEVERAL), "load_col": {"inter": ["item_id"]}}, dataset="odd")


def test_a_byte_order_mark_changes_nothing() -> None:
    """Excel and Windows write one; the same data is the same data."""
    settings = settings_of(SEVERAL)
    before = train("BPR", settings, dataset="odd").result
    path = Path("data/odd/odd.inter")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert train("BPR", settings, dataset="odd").result["test_result"] == before["test_result"]


@pytest.mark.parametrize("row", ["NA\ti0-00", "u0-00\tnan", "\t"])
def test_rows_without_a_user_or_an_item_are_refused(row: str) -> None:
    """RecBole drops them where it splits itself, and where it does not takes them for the padding's."""
    keys = write_tiny()
    file = Path("data/tiny/tiny.train.inter")
    file.write_text(f"{file.read_text()}{row}\n")
    with pytest.raises(DataError, match=r"1 rows of one part of 'tiny' have no (user|item)_id"):
        prepare_only("BPR", "tiny", config_dict=keys)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"dtlns_structure_paths": "nope.tsv"}, "cannot read the tree paths in nope.tsv: No such file"),
        ({"dtlns_semantic_paths": "nope.tsv"}, "cannot read the tree paths in nope.tsv: No such file"),
        ({"dtlns_candidates_file": "nope.tsv"}, "cannot read the candidates in nope.tsv: No such file"),
        ({"dtlns_judge": "recorded", "dtlns_judge_labels": "nope.tsv"}, "cannot read the labels in nope.tsv: No such"),
    ],
)
def test_a_file_that_is_not_there_is_noticed_before_any_work(
    tiny: dict[str, Any], keys: dict[str, Any], match: str
) -> None:
    with pytest.raises(DataError, match=match):
        train("BPR", tiny, **keys, dtlns_cache_dir="empty")
    assert not list(Path("empty").rglob("*.safetensors"))
