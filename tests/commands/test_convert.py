"""`recbole-dtlns convert`: a table as shops export it becomes data that RecBole reads; nothing is lost silently."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from block_data import block_pairs

from recbole_dtlns.commands.command_line import main
from recbole_dtlns.commands.conversion import convert
from recbole_dtlns.errors import ArtefactError, ConfigError, DataError

ROWS = """customer,product,bought,stars,product name,price,colour
ann,b1,2024-04-13 10:00:00,5,"The ""Big"" Lamp, green",12.5,red
Jürgen,b2,2024-04-14,4,Café chair,3,blue
007,b2,2024-04-15T00:00:00Z,2,Café chair,3,red
ann,b1,2024-04-16,4.5,"The ""Big"" Lamp, green",12.5,red
"""


def write(text: str, name: str = "shop.csv", encoding: str = "utf-8") -> str:
    Path(name).write_bytes(text.encode(encoding))
    return name


def read(kind: str, folder: str = "dataset/shop") -> list[list[str]]:
    """The rows, as RecBole's own reader sees them."""
    file = next(Path(folder).glob(f"*.{kind}"))
    frame = pd.read_csv(file, delimiter="\t", dtype=str, encoding="utf-8", engine="python")
    return [list(frame.columns), *frame.fillna("").values.tolist()]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_separator_and_encoding_are_recognised(separator: str, encoding: str) -> None:
    rows = pd.read_csv(write(ROWS), dtype=str)
    write(rows.to_csv(sep=separator, index=False), "given.txt", encoding)
    convert("given.txt", "customer", "product", "dataset/shop", time="bought", rating="stars")
    assert read("inter") == [
        ["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
        ["ann", "b1", "5.0", "1713002400"],
        ["Jürgen", "b2", "4.0", "1713052800"],
        ["007", "b2", "2.0", "1713139200"],
        ["ann", "b1", "4.5", "1713225600"],
    ]
    assert read("item") == [
        ["item_id:token", "product_name:token_seq", "price:float"],
        ["b1", 'The "Big" Lamp, green', "12.5"],
        ["b2", "Café chair", "3.0"],
    ]


def test_an_encoding_that_cannot_be_recognised_can_be_given() -> None:
    write(ROWS.replace("Jürgen", "ゆき").replace("Café", "Cafe"), encoding="shift_jis")
    convert("shop.csv", "customer", "product", "dataset/shop", encoding="shift_jis")
    assert read("inter")[2][0] == "ゆき"
    with pytest.raises(DataError, match=r"not text in ascii: give its --encoding"):
        convert("shop.csv", "customer", "product", "dataset/other", encoding="ascii")
    with pytest.raises(ConfigError, match=r"--encoding=klingon"):
        convert("shop.csv", "customer", "product", "dataset/other", encoding="klingon")


def test_what_is_left_out_is_counted() -> None:
    """Rows without user, item or time, rows of low rating, and columns that say several things of an item."""
    more = (
        ",b1,2024-04-13,5,,,\nann,,2024-04-13,5,,,\nNA,b1,2024-04-13,5,,,\nbob,b1,,5,,,\nbob,b1,2024-04-13,,,,green\n"
    )
    found = convert(
        write(ROWS + more), "customer", "product", "dataset/shop", time="bought", rating="stars", min_rating=4
    ).text()
    assert "3 without user or item, 1 without a time, 2 rated below 4, or not at all" in found
    assert "3 rows of 2 users and 2 items; 1 repeat a pair, of which the first counts" in found
    assert "\nrm_dup_inter: first" in Path("dataset/shop/shop.yaml").read_text()
    assert "columns not used" not in found  # of the kept rows, none has a second colour of an item
    found = convert("shop.csv", "customer", "product", "dataset/all").text()
    assert "columns not used, as they say several things of one item or nothing: bought, stars, colour" in found


def test_ids_and_titles_with_tabs_and_line_breaks_stay_in_their_line() -> None:
    text = 'u,i,title\n"an\tn","b\n1","a\r\ntitle"\n"an n"," b2 ",another\n'
    found = convert(write(text), "u", "i", "dataset/shop").text()
    assert read("inter")[1:] == [["an n", "b 1"], ["an n", "b2"]]
    assert read("item")[1:] == [["b 1", "a title"], ["b2", "another"]]
    assert (
        "1 user ids held tabs, line breaks or outer spaces; they hold single spaces now; 1 then equal another" in found
    )


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["1698000000", "1698000001"], ["1698000000", "1698000001"]),
        (["1698000000123", "1698000000124"], ["1698000000123", "1698000000124"]),
        (["1.5", "2"], ["1.5", "2.0"]),
        (["1970-01-02", "1970-01-01T00:00:01.5+00:00"], ["86400.0", "1.5"]),
        (["1970-01-01 02:00:00+02:00", "1970-01-01 00:00:01Z"], ["0", "1"]),
        (["02/01/1970", "13/01/1970"], ["86400", "1036800"]),
        (["01/02/1970", "01/13/1970"], ["86400", "1036800"]),
        (["Jan 2, 1970", "Jan 13, 1970"], ["86400", "1036800"]),
        (["1970-01-02", "9999-12-31"], ["86400", "253402214400"]),
        (["1970-01-01T00:00:00.123456", "9999-12-31T23:59:59Z"], ["0.123456", "253402300799.0"]),
        (["13/01/1970", "31/12/9999"], ["1036800", "253402214400"]),
        (["1970-01-02 00:00:00Z", "0001-01-01 00:00:00Z"], ["86400", "-62135596800"]),
        (["9999-12-31 23:00:00-12:00", "1970-01-01 02:00:00+02:00"], ["253402340400", "0"]),
    ],
)
def test_times_may_be_numbers_or_dates(times: list[str], seconds: list[str]) -> None:
    frame = pd.DataFrame({"u": ["a", "b"], "i": ["x", "y"], "t": times})
    frame.to_csv("shop.csv", index=False)
    convert("shop.csv", "u", "i", "dataset/shop", time="t")
    assert [row[2] for row in read("inter")[1:]] == seconds


def test_the_last_year_can_be_given_with_its_form() -> None:
    write("u,i,t\na,x,31.12.9999\n")
    convert("shop.csv", "u", "i", "dataset/shop", time="t", date_format="%d.%m.%Y")
    assert read("inter")[1][2] == "253402214400"


def test_day_and_month_are_never_guessed() -> None:
    write("u,i,t\na,x,03/04/2024\nb,y,05/04/2024\n")
    with pytest.raises(DataError, match=r"'03/04/2024' can be read as 2024-03-04 and as 2024-04-03; .*--date-format"):
        convert("shop.csv", "u", "i", "dataset/shop", time="t")
    convert("shop.csv", "u", "i", "dataset/shop", time="t", date_format="%d/%m/%Y")
    assert [row[2] for row in read("inter")[1:]] == ["1712102400", "1712275200"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (ROWS, {"user": "user"}, r"no column user: its first line names customer, product, .*line of names above it"),
        (ROWS, {"user": "user", "time": "when"}, r"no column user and when"),
        (ROWS, {"rating": "colour"}, r"column colour: 'red' \(row 1\) is no number"),
        (ROWS, {"time": "colour"}, r"column colour: 'red' \(row 1\) is neither a number nor a date"),
        (ROWS, {"time": "bought", "date_format": "%d.%m.%Y"}, r"column bought: '2024-04-13 10:00:00' \(row 1\)"),
        (ROWS, {"rating": "stars", "min_rating": 6.0}, r"no row of the 4 is left: 4 rated below 6"),
        (ROWS, {"min_rating": 4.0}, r"--min-rating needs --rating"),
        (ROWS, {"item": "customer"}, r"the column customer is named twice: as user_id and as item_id"),
        (ROWS, {"time": "stars", "rating": "stars"}, r"stars is named twice"),
        (ROWS, {"output": "dataset/ml-100k"}, r"RecBole reads its own data"),
        (ROWS, {"output": "my data/shop"}, r"a path with spaces"),
        (ROWS, {"output": "shop.csv/below"}, r"cannot write shop.csv/below/below.item"),
        (ROWS, {"table": "none.csv"}, r"cannot read none.csv"),
        ("customer,product\n", {}, r"no row of the 0 is left: the table is empty"),
        ("", {}, r"cannot read shop.csv"),
        ("customer,product\nann,b1,extra\n", {}, r"rows have more fields than the first line has names"),
        ("customer,product\nann,b1\nbob,b2,\n", {}, r"cannot read shop.csv.*line 3"),
    ],
)
def test_what_cannot_be_converted_is_named_and_leaves_nothing(
    text: str, options: dict[str, object], message: str
) -> None:
    arguments = {"table": write(text), "user": "customer", "item": "product", "output": "dataset/shop", **options}
    with pytest.raises((ConfigError, DataError, ArtefactError), match=message):
        convert(**arguments)
    assert not list(Path("dataset").rglob("*.*")) if Path("dataset").exists() else True


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_end(content: bytes) -> bytes:
    return content[:-4]


def beginning(content: bytes) -> bytes:
    return content[:9]


@pytest.mark.parametrize("damage", [cut, without_end, beginning])
@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip", "tar"])
def test_a_compressed_table_that_is_damaged_is_named_and_leaves_nothing(
    ending: str, damage: Callable[[bytes], bytes]
) -> None:
    """However much of it can be read; what is left of a .zip or .tar is none at all."""
    some = random.Random(0)
    rows = "".join(f"{some.random()},{some.random()}\n" for _ in range(5_000)).encode()
    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(ending, lambda text: text)
    file = Path(f"shop.csv.{ending}")
    file.write_bytes(damage(packed(b"u,i\n" + rows)))
    with pytest.raises(
        DataError, match=rf"(?s)shop\.csv\.{ending} is cut off, damaged, or not compressed.*export it anew"
    ):
        convert(file, "u", "i", "dataset/shop")
    assert not Path("dataset").exists()


def test_nothing_is_overwritten() -> None:
    convert(write(ROWS), "customer", "product", "dataset/shop")
    before = Path("dataset/shop/shop.inter").read_bytes()
    with pytest.raises(ConfigError, match=r"dataset/shop/shop.inter, .*exists already: give another --output"):
        convert("shop.csv", "product", "customer", "dataset/shop")
    assert Path("dataset/shop/shop.inter").read_bytes() == before


@pytest.mark.parametrize("output", ["dataset/shop", "folder/it's"])
def test_the_command_it_prints_runs(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From a table to prepared data: settings and names fit together."""
    users, items = block_pairs()
    frame = pd.DataFrame({"user": users, "item": items, "when": range(len(users)), "title": [f"a {i}" for i in items]})
    frame.to_csv("shop.csv", index=False)
    assert main(["convert", "shop.csv", "--user=user", "--item=item", "--time=when", f"--output={output}"]) == 0
    told = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("recbole-dtlns ")]
    prepare, compare, train, recommend = told
    assert (compare[0], recommend[0]) == ("compare", "recommend")
    assert main([*prepare, "--show_progress=False"]) == 0
    assert main([*train, "--epochs=1", "--show_progress=False"]) == 0
    run = capsys.readouterr().out.splitlines()[-1].removeprefix("run folder: ")
    assert main([run if word == "RUN" else word for word in recommend]) == 0
    assert Path("recommendations.tsv").is_file()
