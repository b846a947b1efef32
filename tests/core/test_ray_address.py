"""A cluster that was killed leaves its address behind; Ray would wait for it for minutes."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recbole_dtlns.errors import EngineError
from recbole_dtlns.ray_cluster import check_cluster, ray_cluster


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str | None]:
    """The addresses that Ray is told; `ray/ray_current_cluster` in the test's folder is the file that it reads."""
    told: list[str | None] = []

    def init(address: str | None, **_: Any) -> None:
        told.append(address)

    ray = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return told


def connect(address: str | None = None) -> None:
    with ray_cluster(address, "pip install ray"):
        pass


@pytest.mark.parametrize("left", ["127.0.0.1:{port}", "nonsense", ""])
def test_a_lost_cluster_is_not_waited_for(
    left: str, connected: list[str | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    file = tmp_path / "ray" / "ray_current_cluster"
    file.write_text(left.format(port=port))
    connect()
    assert connected == ["local"]
    assert f"no Ray cluster answers at the address in {file}" in caplog.text


def test_a_cluster_that_answers_is_joined_and_named(
    connected: list[str | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
        connect()
        connect("local")
    assert connected == [None, "local"]
    assert caplog.text.count(f"the Ray cluster at 127.0.0.1:{port} is there,") == 1


def test_an_address_that_is_given_is_kept(
    connected: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray" / "ray_current_cluster").write_text("nonsense")
    connect("10.0.0.1:6379")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    connect()
    assert connected == ["10.0.0.1:6379", None]


def test_without_such_a_file_ray_decides(connected: list[str | None]) -> None:
    connect()
    assert connected == [None]


@pytest.fixture
def closed() -> str:
    """An address at which nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def check(address: str | None) -> None:
    check_cluster(address, "pip install ray")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize("word", ["", "localhost", "6379", "ray"])
def test_what_is_no_address_is_refused_at_once(word: str, installed: None) -> None:
    with pytest.raises(EngineError, match=f"'{word}' is no address of a Ray cluster"):
        check(word)


def test_an_address_at_which_nothing_answers_is_refused_at_once(
    closed: str, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is given or taken from the environment, where Ray would wait for minutes."""
    for address in (closed, f"ray://{closed}"):
        with pytest.raises(EngineError, match=rf"cannot reach the Ray cluster {address}: .*ray start"):
            check(address)
    monkeypatch.setenv("RAY_ADDRESS", closed)
    with pytest.raises(EngineError, match=rf"cannot reach the Ray cluster {closed} of \$RAY_ADDRESS: "):
        check(None)
    check("local")


def test_what_ray_finds_itself_and_what_answers_is_taken(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (None, "auto", "local"):
        check(address)
    with socket.create_server(("127.0.0.1", 0)) as server:
        check(f"127.0.0.1:{server.getsockname()[1]}")
