"""Connecting to Ray."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_dtlns.errors import EngineError, InstallationError

logger = logging.getLogger("recbole_dtlns")

_FOUND_BY_RAY = ("auto", "local")  # words that Ray takes for an address
_SECONDS = 5.0  # for a cluster of this machine to take a connection


@contextmanager
def ray_cluster(address: str | None, install: str) -> Iterator[Any]:
    """The module `ray`, connected; a cluster that this started is ended afterwards, one that was there is left.

    Args:
        address: of a cluster; None: the one that is connected, else the one that this machine has, else one of this
            machine alone; "local": the last.
        install: the command that installs what is needed, for the message where Ray is missing.

    Raises:
        InstallationError: Ray is not installed.
        EngineError: the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # after the first error, tasks under way have the same
    try:
        import ray
    except ImportError as error:
        raise InstallationError(f"Ray is not installed ({error}); install it with: {install}") from error
    ours = not ray.is_initialized()
    if ours:
        named = os.environ.get("RAY_ADDRESS")
        there = None if address is not None else named or _told()
        if there is not None and not named and not _answers(there):
            there, address = None, "local"
        if there:
            logger.info("the Ray cluster at %s is there, and does the work; the address local starts another", there)
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EngineError(f"cannot reach the Ray cluster {address}: {error}") from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def check_cluster(address: str | None, install: str) -> None:
    """Whether Ray is there and something answers at the address, or where none is given, at $RAY_ADDRESS.

    Nothing is started.

    Raises:
        InstallationError: Ray is not installed.
        EngineError: nothing answers, or it is no address.
    """
    if importlib.util.find_spec("ray") is None:
        raise InstallationError(f"Ray is not installed; install it with: {install}")
    named = os.environ.get("RAY_ADDRESS") or None if address is None else address
    if named in (None, *_FOUND_BY_RAY):
        return
    if ":" not in named:
        raise EngineError(
            f"'{named}' is no address of a Ray cluster: give its HOST:PORT, as ray start --head prints it"
        )
    try:
        _knock(named.removeprefix("ray://"))
    except (OSError, ValueError) as error:
        where = "" if address is not None else " of $RAY_ADDRESS"
        raise EngineError(
            f"cannot reach the Ray cluster {named}{where}: {error}. Is it started (ray start --head), and is this the "
            "address that it printed?"
        ) from error


def _address_file() -> Path:
    """Where `ray start` writes the address that Ray takes where none is given."""
    given = [os.environ[name] for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ]
    return Path(*given[:1] or ["/tmp"], "ray", "ray_current_cluster")


def _told() -> str | None:
    """The address that Ray takes where none is given; None where there is no such file."""
    file = _address_file()
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else None


def _answers(address: str) -> bool:
    """A cluster that was killed leaves its address, at which Ray would wait for minutes."""
    try:
        _knock(address)
    except (OSError, ValueError) as error:
        logger.warning(
            "no Ray cluster answers at the address in %s (%s): one is started for this run", _address_file(), error
        )
        return False
    return True


def _knock(address: str) -> None:
    """An error (OSError, or ValueError for no port) where nothing takes a connection at host:port."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
