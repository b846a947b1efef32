"""The log of one run: RecBole's file and format, for every run of a process."""

from __future__ import annotations

import logging
import sys
from typing import Any

from recbole.utils import init_logger

logger = logging.getLogger("recbole_dtlns")

_opened: list[logging.Handler] = []
_said: set[str] = set()


def shows_bars(config: Any) -> bool:
    """Whether progress bars are wanted, and there is a terminal that they can move in."""
    return bool(config["show_progress"]) and sys.stderr.isatty()


def open_log(config: Any) -> None:
    """Open RecBole's log for this run, and close the one of the run before.

    RecBole's own `init_logger` configures logging once per process: later runs would append to the first run's
    file, and nothing would reach a file in a program that has handlers of its own. It also wraps the standard
    streams again for every run, until they fail after some hundred runs; they are put back. A program that has
    handlers of its own keeps them, and shows the messages itself.

    Args:
        config: the run's configuration.
    """
    _said.clear()
    root = logging.getLogger()
    while _opened:
        handler = _opened.pop()
        root.removeHandler(handler)
        handler.close()
    others, root.handlers = root.handlers, []
    streams = sys.stdout, sys.stderr
    try:
        init_logger(config)
        _opened.extend(handler for handler in root.handlers if not others or isinstance(handler, logging.FileHandler))
    finally:
        root.handlers = _opened + others  # ours first: RecBole names TensorBoard's folder after the first file
        sys.stdout, sys.stderr = streams


def warn_once(message: str) -> None:
    """Warn of what is true of a whole run, which is met again and again in it, the first time only."""
    if message not in _said:
        _said.add(message)
        logger.warning(message)
