"""A table of interactions, such as a shop's export, made into RecBole's atomic files."""

from __future__ import annotations

import re
import shlex
import tarfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_dtlns.data.atomic_file import TITLES
from recbole_dtlns.errors import ConfigError, DataError, InstallationError
from recbole_dtlns.storage.whole_files import write_file

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it reads no .xz
    LZMAError = EOFError  # type: ignore[misc, assignment]

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_ENCODINGS = ("utf-8-sig", "utf-16", "cp1252")  # each refuses most texts that are not its own, the last one few
# What reading a compressed file that is cut off or damaged raises, beside OSError and ValueError.
_DAMAGED = (EOFError, zlib.error, LZMAError, zipfile.BadZipFile, tarfile.TarError)
_BREAKS = r"[\t\r\n\v\f\x00\x1c-\x1e\x85\u2028\u2029]+"
_IDS = ("user_id", "item_id")
_FIELDS = (*_IDS, "rating", "timestamp")
_SETTINGS = """data_path: {data_path}
load_col: {{inter: [{columns}]}}
user_inter_num_interval: "[5,inf)"              # drop users with fewer than 5 interactions
item_inter_num_interval: "[5,inf)"
eval_args: {{split: {{RS: [0.8, 0.1, 0.1]}}, order: {order}, group_by: user, mode: full}}   # {meaning}
valid_metric: NDCG@10
eval_batch_size: 1000000                        # RecBole counts items: too small a number makes evaluation slow
"""
_WITHOUT_REPEATS = """rm_dup_inter: first                             # of a repeated pair: what was seen is not offered
"""


@dataclass(frozen=True)
class Conversion:
    """What was read, left out and written; `text` says it in lines, the last of which are the next commands."""

    lines: list[str]

    def text(self) -> str:
        """The lines as they are printed."""
        return "\n".join(self.lines)


@dataclass(frozen=True)
class _Table:
    frame: pd.DataFrame
    separator: str
    encoding: str

    def __str__(self) -> str:
        encoding = "UTF-8" if self.encoding == _ENCODINGS[0] else self.encoding
        guessed = " (not UTF-8; if names look wrong, give the --encoding)" if encoding == _ENCODINGS[-1] else ""
        return f"{len(self.frame)} rows, separated by {_SEPARATORS[self.separator]}, {encoding}{guessed}"


def convert(
    table: str | Path,
    user: str,
    item: str,
    output: str | Path,
    time: str | None = None,
    rating: str | None = None,
    min_rating: float | None = None,
    date_format: str | None = None,
    encoding: str | None = None,
) -> Conversion:
    """Write `NAME.inter`, `NAME.item` and `NAME.yaml` into the folder `output`, whose last part is NAME.

    Separator and encoding are recognised. Columns that say one thing of each item go to the .item file. Rows without
    user, item or time are left out and counted; repeated pairs stay, and the yaml tells RecBole to take the first.

    Args:
        table: text with a first line of names, and any compression that pandas knows by the file's ending.
        user, item, time, rating: names of columns; times are numbers or dates.
        output: a folder for the data set; the folder above it is RecBole's `data_path`.
        min_rating: rows rated below are left out.
        date_format: of the times, as `strptime` has it; needed only where day and month could be mistaken.
        encoding: of the file, where it is none of UTF-8, UTF-16 and Windows' cp1252.

    Raises:
        ConfigError: arguments that contradict each other, or files that exist already.
        DataError: the table cannot be read, lacks a column, or holds a value that is no number or date.
        InstallationError: its compression needs a library that is not installed.
    """
    folder = Path(output)
    if not folder.name:
        raise ConfigError(f"--output={output}: name a folder for the data set, such as dataset/shop")
    files = {kind: folder / f"{folder.name}.{kind}" for kind in ("inter", "item", "yaml")}
    if min_rating is not None and rating is None:
        raise ConfigError("--min-rating needs --rating=COLUMN")
    if re.search(r"\s", str(folder)):
        raise ConfigError(f"--output={folder}: a path with spaces could not be named in --config_files; give another")
    if folder.name == "ml-100k":
        raise ConfigError("RecBole reads its own data whenever the data set is called ml-100k: give another --output")
    if existing := [str(file) for file in files.values() if file.exists()]:
        raise ConfigError(f"{', '.join(existing)} exists already: give another --output, or delete it")

    wanted = {
        field: column for field, column in zip(_FIELDS, (user, item, rating, time), strict=True) if column is not None
    }
    for field, column in wanted.items():
        if twice := [other for other in wanted if other != field and wanted[other] == column]:
            raise ConfigError(f"the column {column} is named twice: as {field} and as {twice[0]}")
    read = _read(Path(table), list(wanted.values()), encoding)
    lines = [f"read {table}: {read}"]
    inter, said = _interactions(read.frame, wanted, min_rating, date_format)
    lines += said
    items, unused = _item_columns(read.frame.loc[inter.index].drop(columns=list(wanted.values())), inter["item_id"])
    lines.append(f"{files['inter']}: {_size(inter)}")
    if len(items.columns):
        lines.append(f"{files['item']}: {', '.join(str(column).partition(':')[0] for column in items)}")
    if unused:
        lines.append(f"  columns not used, as they say several things of one item or nothing: {', '.join(unused)}")
    lines.append(f"{files['yaml']}: settings to start from")
    # The .inter file comes last: where it is, the others are whole.
    if len(items.columns):
        write_file(files["item"], items.to_csv(sep="\t", index_label="item_id:token", lineterminator="\n"), "--output")
    repeats = bool(inter.duplicated(list(_IDS)).any())
    write_file(files["yaml"], settings_text(str(folder.parent), time is not None, repeats), "--output")
    typed = inter.rename(columns={field: f"{field}:{'token' if field in _IDS else 'float'}" for field in inter})
    write_file(files["inter"], typed.to_csv(sep="\t", index=False, lineterminator="\n"), "--output")
    given = f"--dataset={shlex.quote(folder.name)} --config_files={shlex.quote(str(files['yaml']))}"
    lines += [
        "",
        "next, what the stages before training say of this data, and a comparison of methods on it:",
        f"recbole-dtlns prepare --model=LightGCN {given}",
        f"recbole-dtlns compare methods {given}",
        "then a model, and what it recommends to every user (RUN: the run folder that train prints last):",
        f"recbole-dtlns train --model=LightGCN {given}",
        "recbole-dtlns recommend RUN --output=recommendations.tsv",
    ]
    return Conversion(lines)


def _interactions(
    frame: pd.DataFrame, wanted: dict[str, str], min_rating: float | None, date_format: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that are kept, with RecBole's names, and what to say of the others."""
    inter = frame[list(wanted.values())].set_axis(list(wanted), axis=1)
    lines: list[str] = []
    for field in _IDS:
        inter[field], said = _without_breaks(inter[field], field.partition("_")[0])
        lines += said
    whole = inter[list(_IDS)].notna().all(axis=1)
    left_out = {"without user or item": int((~whole).sum())}
    inter = inter[whole]
    if "timestamp" in inter:
        inter = inter.assign(timestamp=_times(inter["timestamp"], wanted["timestamp"], date_format))
        timed = inter["timestamp"].notna()
        left_out["without a time"] = int((~timed).sum())
        inter = inter[timed]
    if "rating" in inter:
        inter = inter.assign(rating=_numbers(inter["rating"], wanted["rating"]))
    if min_rating is not None:
        liked = (inter["rating"] >= min_rating).fillna(False)
        left_out[f"rated below {min_rating:g}, or not at all"] = int((~liked).sum())
        inter = inter[liked]
    counts = ", ".join(f"{count} {why}" for why, count in left_out.items() if count)
    if inter.empty:
        raise DataError(f"no row of the {len(frame)} is left: {counts or 'the table is empty'}")
    return inter, [*lines, f"  rows left out: {counts}"] if counts else lines


def _size(inter: pd.DataFrame) -> str:
    repeated = int(inter.duplicated(list(_IDS)).sum())
    size = f"{len(inter)} rows of {inter['user_id'].nunique()} users and {inter['item_id'].nunique()} items"
    return f"{size}; {repeated} repeat a pair, of which the first counts" if repeated else size


def settings_text(data_path: str, timed: bool, repeats: bool = False) -> str:
    """A config file for a converted data set.

    Args:
        data_path: the folder above the data set's.
        timed: whether its rows have times, by which each user's last ones are held out; else some at random.
        repeats: whether pairs occur more than once. What stands in train is never recommended again, so that a test row
            that repeats a train pair could not be found; the first row of a pair counts.
    """
    return (_SETTINGS + (_WITHOUT_REPEATS if repeats else "")).format(
        data_path=data_path if re.fullmatch(r"[\w./-]+", data_path) else f"'{data_path.replace(chr(39), chr(39) * 2)}'",
        columns=", ".join(("user_id", "item_id", *(("timestamp",) if timed else ()))),
        order="TO" if timed else "RO",
        meaning="the last 20 % of each user, by time" if timed else "20 % of each user, at random",
    )


def _read(path: Path, wanted: list[str], encoding: str | None) -> _Table:
    for name in (encoding,) if encoding else _ENCODINGS:
        try:
            return _separated(path, wanted, name)
        except UnicodeError:
            continue
        except LookupError as error:
            raise ConfigError(f"--encoding={name}: {error}") from error
        except pd.errors.ParserWarning as error:
            raise DataError(f"{path}: rows have more fields than the first line has names ({error})") from error
        except _DAMAGED as error:
            raise DataError(
                f"{path} is cut off, damaged, or not compressed as its ending says ({error}): copy or export it anew"
            ) from error
        except ImportError as error:
            raise InstallationError(f"reading {path} needs a library that is not installed: {error}") from error
        except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
            raise DataError(f"cannot read {path}: {error}") from error
    tried = encoding or ", ".join(_ENCODINGS)
    raise DataError(f"{path} is not text in {tried}: give its --encoding, such as --encoding=shift_jis")


def _separated(path: Path, wanted: list[str], encoding: str) -> _Table:
    """The table, by the separator that makes the wanted columns of the first line."""

    def read(separator: str, rows: int | None) -> pd.DataFrame:
        # Everything as text: 007 is no number. What pandas reads as missing (NA, null, ...) RecBole does too.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, sep=separator, encoding=encoding, dtype=str, nrows=rows, index_col=False, skipinitialspace=True
            )
        return frame.rename(columns=lambda column: str(column).strip())

    heads = {separator: list(read(separator, 0).columns) for separator in _SEPARATORS}
    for separator, columns in heads.items():
        if set(wanted) <= set(columns):
            return _Table(read(separator, None), separator, encoding)
    columns = max(heads.values(), key=len)
    missing = [column for column in wanted if column not in columns]
    raise DataError(
        f"{path} has no column {' and '.join(missing)}: its first line names {', '.join(columns)}. If that is a row "
        "already, write a line of names above it"
    )


def _without_breaks(ids: pd.Series, what: str) -> tuple[pd.Series, list[str]]:
    """Ids that fit into a line of a table, and what to say where some did not."""
    clean = ids.str.replace(_BREAKS, " ", regex=True).str.strip()
    clean = clean.mask(clean == "")
    changed = ids[ids.notna() & clean.notna() & (ids != clean)].nunique()
    if not changed:
        return clean, []
    merged = ids[clean.notna()].nunique() - clean.nunique()
    equal = f"; {merged} then equal another" if merged else ""
    return clean, [f"  {changed} {what} ids held tabs, line breaks or outer spaces; they hold single spaces now{equal}"]


def _numbers(column: pd.Series, name: str) -> pd.Series:
    """As numbers; missing where the text is."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = column.notna() & ~np.isfinite(numbers)
    if wrong.any():
        raise DataError(f"column {name}: {_first(column, wrong)} is no number")
    return _whole(numbers)


def _times(column: pd.Series, name: str, date_format: str | None) -> pd.Series:
    """Numbers as they are, dates as seconds since 1970 (UTC where they name no zone); missing where the text is."""
    told = column.dropna()
    numbers = pd.to_numeric(told, errors="coerce")
    if not date_format and np.isfinite(numbers).all():
        return _whole(numbers.astype(float)).reindex(column.index)
    if date_format:
        dates = _dates(told, date_format)
    else:
        dates = _dates(told, "ISO8601")
        if dates.isna().any():
            dates = _unambiguous(told, name)
    wrong = dates.isna()
    if wrong.any():
        how = f"no date like {date_format}" if date_format else "neither a number nor a date like the others"
        raise DataError(
            f"column {name}: {_first(told, wrong)} is {how}; say how dates are written, such as "
            "--date-format='%d.%m.%Y %H:%M'"
        )
    # In whole seconds: one in nanoseconds would leave no room for years such as 9999, which stand for "never".
    seconds = (dates - pd.Timestamp("1970-01-01", tz="UTC").as_unit("s")).dt.total_seconds()
    return _whole(seconds).reindex(column.index)


def _unambiguous(told: pd.Series, name: str) -> pd.Series:
    """Dates of one form, with day and month in the only order in which all of them can be read."""
    by_month, by_day = (_dates(told, dayfirst=first) for first in (False, True))
    if by_month.isna().any() or by_day.isna().any():
        return by_day if by_month.isna().sum() > by_day.isna().sum() else by_month
    if differs := (by_month != by_day).to_numpy().nonzero()[0].tolist():
        text, month_first, day_first = (dates.iloc[differs[0]] for dates in (told, by_month, by_day))
        raise DataError(
            f"column {name}: {text!r} can be read as {month_first:%Y-%m-%d} and as {day_first:%Y-%m-%d}; say which, "
            "such as --date-format='%d/%m/%Y' or --date-format='%m/%d/%Y %H:%M'"
        )
    return by_month


def _dates(told: pd.Series, form: str | None = None, dayfirst: bool = False) -> pd.Series:
    with warnings.catch_warnings():
        # Dates of several forms, or of the other order of day and month: found as missing values, and told.
        warnings.filterwarnings("ignore", "Could not infer format|Parsing dates in", UserWarning)
        return pd.to_datetime(told, errors="coerce", utc=True, format=form, dayfirst=dayfirst)


def _whole(numbers: pd.Series) -> pd.Series:
    """Without a fraction in the file where no value has one."""
    return numbers.astype("Int64") if (numbers.dropna() % 1 == 0).all() and numbers.abs().max() < 2**63 else numbers


def _first(column: pd.Series, wrong: pd.Series) -> str:
    place = int(wrong.to_numpy().argmax())
    return f"{column.iloc[place]!r} (row {column.index[place] + 1})"


def _item_columns(rest: pd.DataFrame, items: pd.Series) -> tuple[pd.DataFrame, list[str]]:
    """The columns with at most one value for each item, typed and by item, and the names of the others."""
    found: dict[str, pd.Series] = {}
    names, unused = set(_FIELDS), []
    for column in rest:
        by_item = rest[column].groupby(items)
        name = re.sub(r"\W+", "_", str(column).lower()).strip("_")
        if not name or name in names or rest[column].isna().all() or by_item.nunique().max() > 1:
            unused.append(str(column))
            continue
        names.add(name)
        values = by_item.first()
        numbers = pd.to_numeric(values, errors="coerce")
        if np.isfinite(numbers[values.notna()]).all():
            found[f"{name}:float"] = _whole(numbers.astype(float))
        else:
            text = values.str.replace(_BREAKS, " ", regex=True)
            found[f"{name}:{'token_seq' if name in TITLES else 'token'}"] = text
    return pd.DataFrame(found, index=pd.Index(sorted(items.unique()))), unused
