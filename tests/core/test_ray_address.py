"""A cluster that was killed leaves its address behind; Ray would wait for it for minutes."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recbole_dtlns.errors import EngineError, InstallationError
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
    monkeypatch.setenv("TMPDIR", str(tmp_path / "other"))
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
    connected: list[str | None], closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray" / "ray_current_cluster").write_text("nonsense")
    connect("10.0.0.1:6379")
    monkeypatch.setenv("RAY_ADDRESS", closed)
    connect()
    assert connected == ["10.0.0.1:6379", None]


def test_without_such_a_file_ray_decides(connected: list[str | None]) -> None:
    connect()
    assert connected == [None]


def test_a_cluster_that_this_started_is_ended_and_one_that_was_connected_is_left(
    connected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(sys.modules["ray"], "shutdown", lambda: ended.append(1))
    connect("local")
    assert (connected, ended) == (["local"], [1])
    monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: True)
    connect("local")
    assert (connected, ended) == (["local"], [1])


def test_nothing_is_reported_to_anybody(connected: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_IGNORE_UNHANDLED_ERRORS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    connect()
    assert (os.environ["RAY_USAGE_STATS_ENABLED"], os.environ["RAY_IGNORE_UNHANDLED_ERRORS"]) == ("0", "1")


@pytest.mark.parametrize("error", [ConnectionError, ValueError, RuntimeError])
def test_what_ray_says_of_an_address_is_an_error_of_the_package(
    error: type[Exception], connected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise error("nobody there")

    monkeypatch.setattr(sys.modules["ray"], "init", init)
    with pytest.raises(EngineError, match=r"cannot reach the Ray cluster 10\.0\.0\.1:6379: nobody there"):
        connect("10.0.0.1:6379")


def test_without_ray_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for call in (connect, check):
        with pytest.raises(InstallationError, match="install it with: pip install ray"):
            call("local")


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
    for address in (closed, f"ray://{closed}", "127.0.0.1:", "127.0.0.1:port"):
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
        port = server.getsockname()[1]
        check(f"127.0.0.1:{port}")
        check(f"ray://127.0.0.1:{port}")


def test_an_address_of_ipv6_is_asked_without_its_brackets_and_for_seconds(
    installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def create_connection(address: tuple[str, int], timeout: float) -> Any:
        asked.append(address)
        assert timeout < 30
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    check("[::1]:6379")
    assert asked == [("::1", 6379)]
