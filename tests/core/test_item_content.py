"""What the .item file says of items: fields to one line of text, codes to paths, and nothing lost without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from block_data import block_interactions

from recbole_dtlns.data.atomic_file import read_columns
from recbole_dtlns.data.item_content import ItemContent, ItemFields, one_line
from recbole_dtlns.errors import ConfigError, DataError

ROWS = {
    "a": {"title": "Red  lamp", "brand": "Lux", "code": "3-0-12"},
    "b": {"title": "", "brand": "Lux", "code": "[3, 1]"},
    "c": {"title": "", "brand": "", "code": ""},
}


def said(**fields: Any) -> ItemContent:
    return ItemFields(**fields).content(ROWS, ["a", "b", "c", "not in the file"])


def test_fields_follow_each_other_and_empty_ones_leave_no_trace() -> None:
    content = said(text_fields=["title", "brand"])
    assert content.texts == ("Red lamp. Lux", "Lux", "", "")
    assert content.without_text.tolist() == [2, 3]
    assert content.codes is None


def test_a_template_says_how_they_make_a_text() -> None:
    """What is filled in is not read as a part of the template; an item that says nothing gets no text of braces."""
    content = ItemFields(text_fields=["title", "brand"], text_template="{title} by {brand}").content(
        {"a": {"title": "{brand} x", "brand": "Lux"}, "b": {"title": "", "brand": ""}}, ["a", "b"]
    )
    assert content.texts == ("{brand} x by Lux", "")


@pytest.mark.parametrize(
    ("template", "message"),
    [("{titel}", "Did you mean 'title'"), ("no field", "names no field"), ("{brand}", "dtlns_text_fields does not")],
)
def test_a_template_that_cannot_be_filled_is_refused(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ItemFields(text_fields=["title"], text_template=template)


def test_what_is_too_long_is_cut_and_counted() -> None:
    content = ItemFields(text_fields=["title"], text_max_characters=5).content(
        {"a": {"title": "x" * 10**6}, "b": {"title": "short"}, "c": {"title": "ab   " + "c" * 9}}, ["a", "b", "c"]
    )
    assert content.texts == ("xxxxx", "short", "ab cc")
    assert content.cut == 2


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\x00b\x1b[31m\tc", "a b [31m c"),
        ("one\r\ntwo\u0085three\x7f", "one two three"),
        ("cafe\u0301", "caf\u00e9"),
        ("日本 العربية \u05e9\u05dc\u05d5\u05dd", "日本 العربية \u05e9\u05dc\u05d5\u05dd"),
        ("lone \ud800 surrogate", "lone surrogate"),
    ],
)
def test_a_text_is_one_line_of_any_script(written: str, read: str) -> None:
    assert one_line(written) == read


def test_codes_are_paths_whatever_stands_between_their_numbers() -> None:
    content = said(code_field="code")
    assert content.codes == ("3-0-12", "3-1", "", "")
    assert content.texts == ("", "", "", "")


@pytest.mark.parametrize("code", ["3-x", "Beauty", "40000", "1-99999999"])
def test_what_is_no_code_is_named(code: str) -> None:
    with pytest.raises(DataError, match="of item 'a' is no path"):
        ItemFields(code_field="code").content({"a": {"code": code}}, ["a"])


def test_content_dealt_to_other_items_keeps_text_and_vector_together() -> None:
    content = ItemContent.of_vectors(np.eye(3, dtype=np.float32), ["a", "b", "c"])
    dealt = content.dealt(np.array([2, 0, 1]))
    assert dealt.texts == ("c", "a", "b")
    assert np.array_equal(dealt.vectors, np.eye(3)[[2, 0, 1]])


def test_digests_tell_texts_apart_that_are_alike_when_joined() -> None:
    assert ItemContent(("ab", "c")).digest != ItemContent(("a", "bc")).digest


def test_hidden_pairs_leave_what_items_say() -> None:
    train = block_interactions()
    content = ItemContent.silent(train.n_items)
    told = type(train)(train.user_tokens, train.item_tokens, train.matrix, content=content)
    assert told.without(np.arange(train.matrix.nnz) < 3).content is content


def test_vectors_that_nothing_makes_are_asked_for_by_key() -> None:
    with pytest.raises(ConfigError, match="dtlns_text_fields"):
        _ = block_interactions().text_vectors


def test_a_file_is_read_by_column_and_token() -> None:
    file = Path("x.item")
    file.write_bytes(
        b"item_id:token\ttitle:token_seq\tprice:float\n7\tNA\t1\n007\t\x00odd\t2\n8\n9\tlast\t3\n9\tnewer\t3\n"
    )
    rows = read_columns(file, "item_id", ["title"])
    assert rows["7"] == {"title": "NA"}
    assert "odd" in rows["007"]["title"] or pd.__version__ < "3", "pandas 2 ends a text at a byte of zeros"
    assert rows["8"] == {"title": ""}
    assert rows["9"] == {"title": "newer"}
    with pytest.raises(DataError, match=r"no column titel; its columns are item_id, title, price\. Did you mean"):
        read_columns(file, "item_id", ["titel"])


def test_a_field_of_a_million_characters_is_read() -> None:
    """Beside a title in quotation marks, too, for which all rows are read once more."""
    file = Path("x.item")
    file.write_text("item_id:token\ttitle:token_seq\n7\t" + "word " * 200_000 + '\n8\t"a ""big"" one"\n')
    rows = read_columns(file, "item_id", ["title"])
    assert len(rows["7"]["title"]) >= 999_999
    assert rows["8"]["title"] == 'a "big" one'
