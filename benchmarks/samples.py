"""Writes the samples of output that the guide shows, as the commands give them; a few seconds each.

With names of samples (prepare, audit, convert) it writes those alone. With a file's name, it
writes the table of a made shop there, which the guide's first page starts from.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_dtlns import audit_judges, prepare_only
from recbole_dtlns.commands.audit import AUDITED, CONTROLLED
from recbole_dtlns.commands.conversion import convert
from recbole_dtlns.storage.whole_files import write_atomically

RESULTS = Path(__file__).parent / "results"
SHOWN_ROWS = 4


def prepare_sample() -> str:
    """`recbole-dtlns prepare --model=LightGCN --dataset=ml-100k`, with nothing prepared before."""
    found = prepare_only("LightGCN", "ml-100k", config_dict={"show_progress": False})
    assert found is not None, "the default prepares"
    return _block(found.summary())


def audit_sample() -> str:
    """`recbole-dtlns audit --model=LightGCN --dataset=ml-100k`."""
    judges = AUDITED.split(",")
    scores = audit_judges(judges, "LightGCN", "ml-100k", config_dict={"show_progress": False}, controls=CONTROLLED)
    return _block(scores.table())


def convert_sample() -> str:
    """A made table of a shop, the command that converts it, and the settings that this writes."""
    made_shop().to_csv("shop.csv", index=False)
    table = Path("shop.csv").read_text().splitlines()
    command = (
        "recbole-dtlns convert shop.csv --user=customer --item=product --time=bought --rating=stars --min-rating=4"
    )
    said = convert("shop.csv", "customer", "product", "dataset/shop", "bought", "stars", 4.0).text()
    settings = Path("dataset/shop/shop.yaml").read_text().rstrip()
    return "\n\n".join(
        (
            "`shop.csv`:",
            _block("\n".join([*table[:SHOWN_ROWS], "..."])),
            _block(f"{command} \\\n    --output=dataset/shop\n\n{said}"),
            "`dataset/shop/shop.yaml`, to be changed as you like:",
            _block(settings, "yaml"),
        )
    )


def made_shop() -> pd.DataFrame:
    """Who bought what in a shop that does not exist."""
    random = np.random.default_rng(7)
    customers, products = random.zipf(1.3, 4000) % 300, random.zipf(1.2, 4000) % 200
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(random.integers(0, 31536000, 4000)), unit="s")
    return pd.DataFrame(
        {
            "customer": [f"c{number:03d}" if number else "" for number in customers],
            "product": [f"b{number:04d}" for number in products],
            "bought": days.strftime("%Y-%m-%d %H:%M:%S"),
            "stars": random.integers(2, 6, 4000),
            "title": [f"Lamp No. {number}, brass" for number in products],
            "price": (products * 0.5 + 9.99).round(2),
        }
    )


def _block(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"


SAMPLES: dict[str, Callable[[], str]] = {
    "prepare": prepare_sample,
    "audit": audit_sample,
    "convert": convert_sample,
}

if __name__ == "__main__" and sys.argv[1:] and not set(sys.argv[1:]) <= set(SAMPLES):
    made_shop().to_csv(sys.argv[1], index=False)
elif __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["RECBOLE_DTLNS_CACHE"] = str(Path(folder) / "cache")
        for name in sys.argv[1:] or SAMPLES:
            write_atomically(RESULTS / f"sample_{name}.md", f"{SAMPLES[name]()}\n".encode())
