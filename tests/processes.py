"""Processes that a test starts and kills, and waiting for what happens in them.

A test waits for an event, never for a time: `PATIENCE` only ends what hangs, and is beyond what a busy machine needs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

from recbole_dtlns.training.fork_server import ForkServer

PATIENCE = 300.0
_IMPORTED = ("processes", "pytest", "recbole_dtlns.commands.command_line", "recbole_dtlns.bridge.runner")


class Child:
    """A process that has imported the package, as it starts; used as a `subprocess.Popen` is."""

    def __init__(
        self, call: str, *arguments: object, output: TextIO | None = None, server: ForkServer | None = None
    ) -> None:
        """Start it.

        Args:
            call: `module:function`, which is given the arguments.
            arguments: for it, as texts.
            output: a file for all that it says; pipes, unless given.
            server: what it is forked from.
        """
        ends = [os.pipe() for _ in range(2)] if output is None else []
        said = [end for _, end in ends] or [output.fileno()] * 2
        self.stdout, self.stderr = [os.fdopen(end, encoding="utf-8") for end, _ in ends] or (None, None)
        try:
            self._forked = (server or _server()).start(
                f"processes:{call}", list(map(str, arguments)), said[0], dict(os.environ), said[1]
            )
        finally:
            for _, end in ends:
                os.close(end)
        self.pid = self._forked.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._forked.poll()

    def send_signal(self, number: int) -> None:
        self._forked.send_signal(number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = PATIENCE) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < end, f"waited {timeout:.0f} s in vain until process {self.pid} ended"
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end; what it said to the pipes."""
        said = ["", ""]

        def read(place: int, pipe: TextIO) -> None:
            said[place] = pipe.read()

        readers = [Thread(target=read, args=one) for one in enumerate((self.stdout, self.stderr))]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return said[0], said[1]

    def close(self) -> None:
        self.kill()
        self.wait()
        for pipe in filter(None, (self.stdout, self.stderr)):
            pipe.close()


class Children:
    """The processes of one test; whatever becomes of the test, none outlives it."""

    def __init__(self) -> None:
        self._started: list[Child] = []

    def code(self, code: str, *arguments: object) -> Child:
        """Start a program text as `python -c CODE ARGUMENTS` does, with pipes for what it says."""
        self._started.append(Child("run_code", code, *arguments))
        return self._started[-1]

    def command(self, *arguments: object, log: Path | str = "log.txt") -> Child:
        """Start `recbole-dtlns ARGUMENTS`, which says what it says to a file."""
        with Path(log).open("a") as file:
            self._started.append(Child("run_command", *arguments, output=file))
        return self._started[-1]

    def end(self) -> None:
        for process in self._started:
            process.close()


def run(call: str, *arguments: object, server: ForkServer | None = None) -> subprocess.CompletedProcess[str]:
    """Start such a process as `Child` does, and wait for its end."""
    process = Child(call, *arguments, server=server)
    try:
        output, errors = process.communicate()
        return subprocess.CompletedProcess([call, *map(str, arguments)], process.wait(), output, errors)
    finally:
        process.close()


@contextmanager
def serving(folder: Path) -> Iterator[ForkServer]:
    """Processes that are forked there have imported the package, and what else lies in the folder is found first."""
    server = fork_server(folder, *_IMPORTED, PYTHONWARNINGS="ignore")
    try:
        yield server
    finally:
        server.close()


@cache
def _server() -> ForkServer:
    """One for all tests of this process, with which it ends."""
    return fork_server(Path(__file__).parent, *_IMPORTED, PYTHONWARNINGS="ignore")


def fork_server(folder: Path, *modules: str, **environment: str) -> ForkServer:
    """A server of processes that have imported some modules, and look for them in the folder first.

    Args:
        folder: before the places where this process looks.
        modules: that are imported.
        environment: beside that of this process.
    """
    path = os.pathsep.join(filter(None, [str(folder), *sys.path]))
    with hearing_ctrl_c():
        return ForkServer(modules, {**os.environ, **environment, "PYTHONPATH": path})


@contextmanager
def hearing_ctrl_c() -> Iterator[None]:
    """Where the tests run in the background of a shell, they and what they start would ignore the signal of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_code(code: str, *arguments: str) -> int:
    """In the forked process: as `python -c CODE ARGUMENTS`."""
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    return 0


def run_command(*arguments: str) -> int:
    """In the forked process: as `recbole-dtlns ARGUMENTS`."""
    from recbole_dtlns.commands.command_line import main

    return main(list(arguments))


def wait_for(condition: Callable[[], Any], what: str, process: Child | subprocess.Popen[Any] | None = None) -> None:
    """Until the condition holds; a process that should bring it about must not end before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None or condition(), f"ended with {process.wait()} before {what}"
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s in vain until {what}"
        time.sleep(0.02)
