"""RecBole's atomic files: tables whose first line names every column and its type, as in `user_id:token`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from recbole_dtlns.errors import DataError
from recbole_dtlns.registry import nearest

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
TITLES = ("title", "movie_title", "name", "item_name", "book_title", "product_name")
# Columns of a train part that holds pseudo-positives: what a row is worth in training, and what it is.
WEIGHT, ORIGIN = "dtlns_weight", "dtlns_origin"
OBSERVED, RELABELLED = "observed", "relabelled"
_SHOWN = 120  # characters of a wrong first line
_LONGEST_FIELD = 2**31 - 1  # Python's own limit is far below the longest descriptions


def column_name(column: Any) -> str:
    """The name in a column's head, as in `user_id:token`."""
    return str(column).partition(":")[0]


def tolerant(encoding: str | None) -> str:
    """The encoding (default UTF-8), without the byte-order mark that Excel and Windows put before UTF-8."""
    return encoding if encoding and encoding.lower().replace("_", "-") not in ("utf-8", "utf8") else "utf-8-sig"


def read_header(path: str | Path, separator: str = "\t", encoding: str | None = None) -> dict[str, str]:
    """The type of every column.

    Args:
        path: the file.
        separator: between columns.
        encoding: of the text, default UTF-8; a byte-order mark is no part of it.

    Returns:
        types by name, in the order of the columns.

    Raises:
        DataError: the first line is no such header, no line follows, one has more fields than the first, or a stray
            quotation mark would swallow some; the message says what it must read.
    """
    try:
        with Path(path).open(encoding=tolerant(encoding)) as file:
            line = file.readline().rstrip("\n")
            rows, too_long, quoted = _rows(file, separator, line.count(separator))
        if quoted and len(separator) == 1:  # pandas knows no quotation marks between longer ones
            _check_quotes(path, separator, tolerant(encoding))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except LookupError as error:
        raise DataError(
            f"encoding is {encoding!r}, which Python does not know: set it to utf-8, cp1252, ..."
        ) from error
    except UnicodeError as error:
        raise DataError(
            f"{path} is not text in {encoding or 'UTF-8'} ({error}): set encoding, or write it anew in UTF-8"
        ) from error
    columns = [column.split(":") for column in line.split(separator)]
    if any(len(parts) != 2 or not parts[0] for parts in columns):
        raise DataError(_no_header(path, line, separator))
    header: dict[str, str] = dict(columns)
    if wrong := [f"{name}:{kind}" for name, kind in header.items() if kind not in FIELD_TYPES]:
        raise DataError(f"{path}: its first line has {', '.join(wrong)}; the types are {', '.join(FIELD_TYPES)}")
    if len(header) < len(columns):
        raise DataError(f"{path}: its first line names a column twice: {line}")
    if not rows:
        raise DataError(f"{path} has a first line, and no rows below it")
    if too_long is not None:  # pandas would move or drop columns without a word
        raise DataError(f"{path}, line {too_long}, has more fields than the first line names ({len(header)})")
    return header


def _rows(file: TextIO, separator: str, separators: int) -> tuple[int, int | None, bool]:
    """How many lines follow the header, the first with more separators, and whether any holds a quotation mark.

    What stands in quotation marks may hold separators.
    """
    rows, quoted = 0, False
    for rows, row in enumerate(file, 1):
        marked = '"' in row
        quoted |= marked
        if not marked and row.count(separator) > separators:
            return rows, rows + 1, quoted
    return rows, None, quoted


def _check_quotes(path: str | Path, separator: str, encoding: str) -> None:
    """Refuse rows that a quotation mark makes of others, as pandas would read them.

    A field that begins with a mark goes on to the next one, over separators and line breaks. Fields that were written
    so fill their row, and hold one of the two at most; a stray mark swallows the rest of its row, and what follows.
    """
    with Path(path).open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        first, columns = 1, 0
        limit = csv.field_size_limit(_LONGEST_FIELD)
        try:
            for row in reader:
                columns = columns or len(row)
                wide = [separator in field for field in row]
                broken = ["\n" in field or "\r" in field for field in row]
                filled = len(row) == columns > 1 and not any(map(all, zip(wide, broken, strict=True)))
                if len(row) > columns or (not filled and any(wide + broken)):
                    raise DataError(_stray_mark(path, first, f"a row of it would end in line {reader.line_num}"))
                first = reader.line_num + 1
        except csv.Error as error:
            raise DataError(_stray_mark(path, first, str(error))) from error
        finally:
            csv.field_size_limit(limit)


def _stray_mark(path: str | Path, line: int, why: str) -> str:
    return (
        f"{path}, line {line}, has a quotation mark that would swallow what follows ({why}): remove it, or write the "
        'field in marks and each mark in it twice, as in "The ""Big"" Lamp"'
    )


def _no_header(path: str | Path, line: str, separator: str) -> str:
    name, between = Path(path), "tabs" if separator == "\t" else repr(separator)
    wanted = separator.join(("user_id:token", "item_id:token", "timestamp:float"))
    if name.suffix == ".item":
        wanted = separator.join(("item_id:token", "title:token_seq", "price:float"))
    return (
        f"{path} is no atomic file of RecBole's: its first line is {line[:_SHOWN]!r}. It must name every column and "
        f"its type ({', '.join(FIELD_TYPES)}), with {between} between them, such as {wanted!r}. To make such files of "
        "a table: recbole-dtlns convert TABLE --user=COLUMN --item=COLUMN --time=COLUMN --output=dataset/"
        f"{name.name.split('.')[0]}"
    )


def read_titles(path: str | Path, key: str, separator: str = "\t", encoding: str | None = None) -> dict[str, str]:
    """Titles of items by token, from the first of the columns `TITLES` that a .item file has; empty where it has none.

    Args:
        path: the .item file.
        key: its column of item tokens.
        separator, encoding: as for `read_header`.

    Raises:
        DataError: the file cannot be read, or has no column of item tokens.
    """
    header = read_header(path, separator, encoding)
    title = next((name for name in TITLES if name in header), None)
    if title is None:
        return {}
    rows = read_columns(path, key, [title], separator, encoding)
    return {token: row[title] for token, row in rows.items() if row[title]}


def read_columns(
    path: str | Path, key: str, columns: Sequence[str], separator: str = "\t", encoding: str | None = None
) -> dict[str, dict[str, str]]:
    """Some columns of a file of items or users, as text by column and by token; of a token's several rows the last.

    Args:
        path: the file.
        key: its column of tokens.
        columns: those wanted.
        separator, encoding: as for `read_header`.

    Raises:
        DataError: the file cannot be read, or lacks a column; the message names those that it has.
    """
    header = read_header(path, separator, encoding)
    for column in (key, *columns):
        if column not in header:
            raise DataError(
                f"{path} has no column {column}; its columns are {', '.join(header)}.{nearest(column, header)}"
            )
    wanted = [f"{name}:{header[name]}" for name in dict.fromkeys((key, *columns))]
    try:
        frame = pd.read_csv(
            path, sep=separator, usecols=wanted, dtype=str, encoding=tolerant(encoding), keep_default_na=False
        )
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    frame.columns = pd.Index([column_name(column) for column in frame.columns])
    tokens = frame[key].tolist()
    values = [frame[column].fillna("").tolist() for column in columns]  # a row may be shorter than the first line
    return {
        token: dict(zip(columns, row, strict=True))
        for token, row in zip(tokens, zip(*values, strict=True), strict=True)
        if isinstance(token, str)
    }
