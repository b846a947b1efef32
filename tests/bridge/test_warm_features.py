"""Tables that many columns share, when data grow: what is new moves all rows behind it, and tokens keep theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_pairs, split_pairs
from ordered import N_ITEMS, SEQUENCES, walks, write_walks
from rated import RATED, parts_of, ratings, write_rated
from tiny_runs import PLAIN, Run, train, write_tiny

from recbole_dtlns.errors import ConfigError

Row = tuple[str, str, str]
Table = tuple[str, Any, list[str], list[int]]  # its name, weights, columns, and the row that each begins at


def write_then(**shape: Any) -> dict[str, Any]:
    """Before the growth: without some users, and without the items of a year; lines of features in another order."""
    known = [
        [row for row in part if not row[0].endswith("15") and not row[1].endswith("9")] for part in parts_of(ratings())
    ]
    keys = write_rated("then", known, **shape)
    for kind, new in (("user", "15"), ("item", "9")):
        path = Path("then") / RATED / f"{RATED}.{kind}"
        head, *lines = path.read_text().splitlines()
        kept = [line for line in reversed(lines) if not line.split("\t")[0].endswith(new)]
        path.write_text("\n".join([head, *kept, ""]))
    return keys


def write_walks_that_grow() -> tuple[dict[str, Any], dict[str, Any]]:
    """Sequences then, and now: more users, and items that follow; items have a column of one token, too."""
    then = walks()[::-1][:50]
    now = [[*items, f"i{24 + place % 4}", f"i{25 + place % 3}"] for place, items in enumerate(walks())]
    found = []
    for folder, sequences, n_items in (("then", then, N_ITEMS), ("now", now, 28)):
        keys = write_walks(folder, sequences, features=True)
        items = range(n_items)[:: -1 if folder == "then" else 1]
        lines = [f"i{item:02d}\tkind-{item % 3} {item // 20}\t{1990 + item % 5 + item // 24 * 9}" for item in items]
        file = Path(folder) / SEQUENCES / f"{SEQUENCES}.item"
        file.write_text("\n".join(["item_id:token\tclass:token_seq\tyear:token", *lines, ""]))
        keys["load_col"]["item"] = ["item_id", "class", "year"]
        found.append({**keys, **PLAIN})
    return found[0], found[1]


def grown(model: str, keys: dict[str, Any]) -> tuple[Run, Run]:
    """A run, and one on grown data as it begins."""
    then = train(model, {**write_then(), **keys}, dataset=RATED, learning_rate=0.01)
    return then, train(model, {**write_rated("now"), **keys}, dataset=RATED, epochs=0, init_from=str(then.folder))


def tables_of(network: Any) -> Iterator[Table]:
    """The tables as the models read them."""
    for module in filter(None, (network, getattr(network, "first_order_linear", None))):
        if hasattr(module, "token_field_offsets"):
            weight = module.token_embedding_table.embedding.weight
            yield f"{type(module)}", weight, module.token_field_names, module.token_field_offsets
            for name, table in zip(module.token_seq_field_names, module.token_seq_embedding_table, strict=True):
                yield f"{type(module)} sequences", table.weight, [name], [0]
    if hasattr(network, "ffm"):
        for place, table in enumerate(network.ffm.token_embeddings):
            yield f"pair {place}", table.weight, network.token_field_names, network.ffm.token_offsets
    layer = getattr(network, "embedding_layer", None)
    for source in () if layer is None else ("user", "item"):
        weight = layer.token_embedding_table[source].embedding.weight
        yield source, weight, layer.token_field_names[source], layer.token_field_offsets[source]


def rows_of(run: Run) -> dict[Row, np.ndarray]:
    """By table, column and token: its row."""
    return {
        (table, column, token): weight[start + place].detach().cpu().numpy()
        for table, weight, columns, starts in tables_of(run.trainer.model)
        for column, start in zip(columns, starts, strict=True)
        for token, place in run.train.field2token_id[column].items()
    }


@pytest.mark.parametrize("model", ["FM", "DeepFM", "FFM"])
def test_every_token_of_every_feature_keeps_its_row(model: str) -> None:
    then, now = grown(model, {**PLAIN, "numerical_features": ["price"]})
    before, begun = rows_of(then), rows_of(now)
    new = begun.keys() - before.keys()
    assert {token for _, column, token in new if column == "year"} == {"1999"}
    assert {token[-2:] for _, column, token in new if column == "user_id"} == {"15"}
    assert before.keys() < begun.keys()
    assert {column for _, column, _ in before} >= {"user_id", "item_id", "year", "town"}
    assert all(np.array_equal(before[row], begun[row]) for row in before)


def test_every_token_of_sequences_keeps_its_row() -> None:
    """DIN has one table for users and their features, and one for items and theirs."""
    keys = write_walks_that_grow()
    by_label = {"valid_metric": "AUC", "mlp_hidden_size": [16, 8]}
    then = train("DIN", {**keys[0], **by_label}, dataset=SEQUENCES, learning_rate=0.01)
    now = train("DIN", {**keys[1], **by_label}, dataset=SEQUENCES, epochs=0, init_from=str(then.folder))
    before, begun = rows_of(then), rows_of(now)
    assert before.keys() < begun.keys()
    assert {column for _, column, _ in begun.keys() - before.keys()} == {"user_id", "item_id", "year"}
    assert all(np.array_equal(before[row], begun[row]) for row in before)


def test_new_users_and_items_begin_as_their_neighbours(caplog: pytest.LogCaptureFixture) -> None:
    """Of a table that users share with all other columns, too."""
    caplog.set_level("INFO")
    _, now = grown("FM", PLAIN)
    new = len([token for token in now.train.field2token_id["user_id"] if token.endswith("15")])
    assert f"user_id: 45 matched, {new} new (u0-15, u1-15, u2-15 ...), {new} of them begin as the mean" in caplog.text


def with_shelf(keys: dict[str, Any], place: int) -> dict[str, Any]:
    """Items have one more column of one token, at this place of the file."""
    path = Path(keys["data_path"]) / RATED / f"{RATED}.item"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row.insert(place, f"shelf-{number % 3}" if number else "shelf:token")
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    columns = {**keys["load_col"], "item": ["item_id", "class", "year", "shelf"]}
    return {**keys, "load_col": columns, **PLAIN}


def test_other_columns_are_named() -> None:
    """Layers after a table read its columns by place."""
    then = train("FM", with_shelf(write_then(), 4), dataset=RATED)
    now = {**with_shelf(write_rated("now"), 1), "init_from": str(then.folder)}
    with pytest.raises(ConfigError, match=r"has read the columns .*year, shelf, and this run's reads .*shelf, year:"):
        train("FM", now, dataset=RATED)
    now = {**with_shelf(write_rated("now"), 4), "init_from": str(then.folder)}
    now["load_col"]["item"] = ["item_id", "year", "shelf"]
    with pytest.raises(ConfigError, match=r"the parameter .*seq.* of .* is none of this run's"):
        train("FM", now, dataset=RATED)


@pytest.mark.parametrize("model", ["BERT4Rec", "S3Rec"])
def test_a_table_with_a_mask_is_matched(model: str) -> None:
    """It is one row longer than there are items, and S3Rec's of attributes is one shorter than there are."""
    keys = write_walks_that_grow()
    if model == "S3Rec":
        keys = [{**one, "pretrain_epochs": 1, "save_step": 1} for one in keys]
    then = train(model, keys[0], dataset=SEQUENCES)
    nothing = {"epochs": 0, "pretrain_epochs": 0}
    now = train(model, {**keys[1], **nothing}, dataset=SEQUENCES, init_from=str(then.folder))
    tables = [run.trainer.model.item_embedding.weight.detach().numpy() for run in (then, now)]
    for token, place in then.train.field2token_id["item_id"].items():
        assert np.array_equal(tables[0][place], tables[1][now.train.field2token_id["item_id"][token]])
    assert np.array_equal(tables[0][-1], tables[1][-1]), "the mask"
    if model == "S3Rec":
        tables = [run.trainer.model.feature_embedding.weight.detach().numpy() for run in (then, now)]
        for token, place in list(then.train.field2token_id["class"].items())[1:]:
            assert np.array_equal(tables[0][place - 1], tables[1][now.train.field2token_id["class"][token] - 1])


def test_nodes_of_a_graph_are_matched() -> None:
    """GCMC has one table for users and items behind them; on the same data in another order it ranks the same."""
    parts = split_pairs(*block_pairs())
    order = np.random.default_rng(1).permutation(len(parts[0][0]))
    then = train("GCMC", write_tiny("then", parts), **PLAIN)
    shuffled = [(parts[0][0][order], parts[0][1][order]), *parts[1:]]
    now = train("GCMC", write_tiny("now", shuffled), **PLAIN, epochs=0, init_from=str(then.folder))
    assert then.result["test_result"] == pytest.approx(now.result["test_result"], abs=1e-6)
