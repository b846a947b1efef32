"""Connecting to Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recbole_dtlns.errors import EngineError, InstallationError


@contextmanager
def ray_cluster(address: str | None, install: str) -> Iterator[Any]:
    """The module `ray`, connected; a cluster that this started is ended afterwards, one that was there is left.

    Args:
        address: of a cluster; None: the one that is connected, else one of this machine.
        install: the command that installs what is needed, for the message where Ray is missing.

    Raises:
        InstallationError: Ray is not installed.
        EngineError: the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
    except ImportError as error:
        raise InstallationError(f"Ray is not installed ({error}); install it with: {install}") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EngineError(f"cannot reach the Ray cluster {address}: {error}") from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
