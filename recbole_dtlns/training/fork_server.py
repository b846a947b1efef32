"""Processes that start with everything imported: forked from one that did nothing but import.

Importing torch, RecBole and pandas takes seconds of processor, in which a run on small data is done. A process that has
not touched a GPU can be forked safely where it has no threads but those of OpenBLAS and Arrow, which begin with their
import and know forks; the one that compares is not such a process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

from recbole_dtlns.training.parent_watch import end_with

_Handler = Callable[[int, FrameType | None], object] | int | None

_MOST_BYTES = 1 << 20  # of a request: a call, its arguments and the environment


class Forked:
    """A process that a server forked. Its parent is the server, which says here when it started and how it ended."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._lock = threading.Lock()
        self._code: int | None = None
        said = self._said()
        self.pid = int(said or 0)
        if not self.pid:
            os.close(status)
            raise ChildProcessError(
                "no process can be started: memory, or the number of processes, is at its limit; try --jobs=1"
                if said
                else "the process that starts others has ended"
            )

    def wait(self) -> int:
        """Until it has ended: its exit status, or minus the signal that ended it."""
        with self._lock:
            return self._ended()

    def poll(self) -> int | None:
        """As `wait`, but None while it is running."""
        if self._lock.acquire(blocking=False):  # else somebody waits for its end
            try:
                if self._code is None and select.select([self._status], [], [], 0)[0]:
                    self._ended()
            finally:
                self._lock.release()
        return self._code

    def send_signal(self, number: int) -> None:
        """To the process, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _ended(self) -> int:
        if self._code is None:
            self._code = int(self._said() or -signal.SIGKILL)  # with the server its processes end too
            os.close(self._status)
        return self._code

    def _said(self) -> str:
        """The next number; nothing where the server has ended."""
        said = b""
        while not said.endswith(b"\n") and (more := os.read(self._status, 1)):
            said += more
        return said.decode()


class ForkServer:
    """Starts processes that have imported some modules. With the process that made it, it ends, and they with it.

    Args:
        modules: what is imported once, for all.
        environment: what libraries read while they are imported, such as the number of threads.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    @property
    def pid(self) -> int:
        """The parent of the processes that it starts."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it can start processes."""
        return self._process.poll() is None

    def start(
        self,
        call: str,
        arguments: Sequence[str],
        output: int,
        environment: Mapping[str, str],
        errors: int | None = None,
    ) -> Forked:
        """A process that works in the folder that is this one's now.

        Args:
            call: `module:function`, which is given the arguments and returns the exit status.
            arguments: for it.
            output: file descriptor of its standard output.
            environment: what it finds in `os.environ`.
            errors: file descriptor of its standard error; that of its output, unless given.

        Raises:
            ChildProcessError: the server has ended, or the system has no room for one more process.
        """
        ours, theirs = os.pipe()
        request = [call, list(arguments), dict(environment), str(Path.cwd())]
        said = [output, output if errors is None else errors]
        try:
            with self._lock:
                socket.send_fds(self._channel, [json.dumps(request).encode()], [*said, theirs])
        except OSError as error:
            os.close(ours)
            raise ChildProcessError(f"the process that starts others has ended: {error}") from None
        finally:
            os.close(theirs)
        return Forked(ours)

    def close(self) -> None:
        """End it; what it started ends within a second."""
        self._channel.close()
        self._process.wait()


def _serve(channel: socket.socket, interrupts: _Handler) -> None:
    """Until whoever asks has ended; `interrupts` is what the processes that work do with Ctrl-C."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 1024)
            for pid, code in _ended(running):
                with contextlib.suppress(BrokenPipeError):  # nobody waits for it
                    os.write(running[pid], f"{code}\n".encode())
                os.close(running.pop(pid))
        if channel.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(channel, _MOST_BYTES, 3)
            if not message:
                return
            *said, status = descriptors
            server, forked = os.getpid(), _fork()
            if forked == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, interrupts)
                for unneeded in (woken, wake, status, *running.values()):
                    os.close(unneeded)
                channel.close()
                _work(server, said, *json.loads(message))
            for descriptor in said:
                os.close(descriptor)
            with contextlib.suppress(BrokenPipeError):  # who asked has ended
                os.write(status, f"{forked or 0}\n".encode())
            if forked:
                running[forked] = status
            else:
                os.close(status)


def _fork() -> int | None:
    """As `os.fork`, but None where the system has no room for a process: this costs no other."""
    try:
        return os.fork()
    except OSError:
        return None


def _ended(running: Mapping[int, int]) -> list[tuple[int, int]]:
    """Processes, and how each ended."""
    ended = [os.waitpid(pid, os.WNOHANG) for pid in running]
    return [(pid, os.waitstatus_to_exitcode(status)) for pid, status in ended if pid]


def _work(
    server: int, said: list[int], call: str, arguments: list[str], environment: dict[str, str], at: str
) -> NoReturn:
    """What a forked process does, from its beginning to its end."""
    code = 1
    try:
        for standard, descriptor in zip((1, 2), said, strict=True):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        end_with(server)
        os.chdir(at)
        os.environ.clear()
        os.environ.update(environment)
        module, function = call.split(":")
        code = getattr(import_module(module), function)(*arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """`python -m recbole_dtlns.training.fork_server DESCRIPTOR MODULE...`"""
    interrupts = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the processes that work
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # from Python 3.12 on
    channel, modules = socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]
    for module in modules:
        import_module(module)
    gc.freeze()  # what all processes share is not copied by looking for garbage in it
    _serve(channel, interrupts)


if __name__ == "__main__":
    main()
