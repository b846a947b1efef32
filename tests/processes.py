"""Processes that a test starts and kills, and waiting for what happens in them.

A test waits for an event, never for a time: `PATIENCE` only ends what hangs, and is beyond what a busy machine needs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PATIENCE = 300.0
COMMAND = ("-W", "ignore", "-m", "recbole_dtlns.commands.command_line")


class Children:
    """The Python processes of one test; whatever becomes of the test, none outlives it."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def python(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """Start `python ARGUMENTS`; `options` are those of Popen."""
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            text=True,
            # Where the tests run in the background of a shell, their children would ignore the signal of Ctrl-C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            **options,
        )
        self._started.append(process)
        return process

    def code(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a program text, with pipes for what it says."""
        return self.python("-c", code, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def command(self, *arguments: object, log: Path | str = "log.txt") -> subprocess.Popen[str]:
        """Start `recbole-dtlns ARGUMENTS`, which says what it says to a file."""
        with Path(log).open("ab") as file:
            return self.python(*COMMAND, *arguments, stdout=file, stderr=file)

    def end(self) -> None:
        for process in self._started:
            process.kill()
            with process:  # closes its pipes
                pass


def wait_for(condition: Callable[[], Any], what: str, process: subprocess.Popen[Any] | None = None) -> None:
    """Until the condition holds; a process that should bring it about must not end before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None or condition(), f"ended with {process.wait()} before {what}"
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s in vain until {what}"
        time.sleep(0.02)
