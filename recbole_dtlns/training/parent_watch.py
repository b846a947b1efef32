"""A process that ends with the one that started it, however that ended."""

from __future__ import annotations

import os
import threading
import time

_OFTEN = 1.0  # seconds between two looks


def end_with(parent: int) -> None:
    """From now on, end this process within a second of its parent's end, whatever it does then.

    Args:
        parent: the process that started this one; it may have ended already.
    """
    threading.Thread(target=_watch, args=[parent], daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_OFTEN)
    os._exit(1)
