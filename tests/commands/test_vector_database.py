"""The recipes of docs/how-to/vector-database.md, run as they stand: databases recommend what `recommend` does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_runs import PLAIN, train, write_tiny

from recbole_dtlns.commands.command_line import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "vector-database.md"
K = 10
pytestmark = [pytest.mark.vectordb, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def best() -> pd.DataFrame:
    """Each user's items and scores, none excluded; the vectors are in the folder `vectors`."""
    folder = str(train("LightGCN", write_tiny(), **PLAIN).folder)
    assert main(["embeddings", folder, "--output=vectors"]) == 0
    assert main(["recommend", folder, f"--k={K}", "--exclude=none", "--output=best.parquet"]) == 0
    return pd.read_parquet("best.parquet")


def recipe(part: str, **names: Any) -> dict[str, Any]:
    """The names that a recipe leaves behind, for a user of the tiny data set."""
    code = re.search(rf"## {part}\n.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    assert code[1].count('"196"') == 1
    exec(code[1].replace('"196"', '"u0-00"'), names)
    return names


def assert_same(best: pd.DataFrame, found: list[list[tuple[str, float]]], users: list[str]) -> None:
    by_user = dict(iter(best.groupby("user_id", sort=False)))
    for user, row in zip(users, found, strict=True):
        expected = by_user[user]
        np.testing.assert_allclose([score for _, score in row], expected["score"], rtol=1e-4, atol=1e-5)
        differing = [item for item, _ in row] != expected["item_id"].tolist()
        close = np.isclose(*np.broadcast_arrays(expected["score"], expected["score"].to_numpy()[:, None]), rtol=1e-4)
        assert not differing or close.sum() > K, "equal scores alone have no order"


def test_faiss(best: pd.DataFrame) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install faiss-cpu")
    made = recipe("faiss")
    scores, rows = made["index"].search(np.load("vectors/users.npy"), K)
    found = [
        list(zip([made["items"][row] for row in some], of.tolist(), strict=True))
        for some, of in zip(rows, scores, strict=True)
    ]
    assert_same(best, found, made["users"])


def test_qdrant(best: pd.DataFrame) -> None:
    pytest.importorskip("qdrant_client", reason="qdrant-client is not installed: make test-vectordb")
    made = recipe("Qdrant")
    users = pd.read_json("vectors/users.json", typ="series", dtype=str).tolist()
    found = [
        [
            (point.payload["item"], point.score)
            for point in made["client"].query_points("items", query=vector, limit=K).points
        ]
        for vector in np.load("vectors/users.npy").tolist()
    ]
    assert_same(best, found, users)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """A PostgreSQL server of this machine, with pgvector."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: make test-vectordb")
    pgserver = pytest.importorskip("pgserver", reason="no PostgreSQL with pgvector is installed: make test-vectordb")
    server = pgserver.get_server(tmp_path / "database")
    yield server.get_uri()
    server.cleanup()


def test_pgvector(best: pd.DataFrame, database: str) -> None:
    import psycopg

    made = recipe("PostgreSQL with pgvector", DATABASE=database)
    users = pd.read_json("vectors/users.json", typ="series", dtype=str).tolist()
    with psycopg.connect(database) as connection:
        found = [
            connection.execute(made["query"], (str(vector), str(vector))).fetchall()
            for vector in np.load("vectors/users.npy").tolist()
        ]
    assert_same(best, found, users)
