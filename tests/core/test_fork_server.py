"""Processes that a server forks: what they are given, how they end, and that none outlives who asked for it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Children, fork_server, wait_for

from recbole_dtlns.training.fork_server import Forked, ForkServer

CALLS = """
import json, os, sys, time

def report(*arguments):
    print(json.dumps([arguments, os.getcwd(), dict(os.environ), "json" in sys.modules, os.getppid()]))
    return 7

def leave(code):
    sys.exit(int(code))

def fail():
    raise ValueError("no such luck")

def sleep(file):
    open(file, "w").write(str(os.getpid()))
    time.sleep(1000)

def interrupted(file):
    try:
        sleep(file)
    except KeyboardInterrupt:
        return 5
"""


@pytest.fixture
def server(empty_folder: Path) -> Iterator[ForkServer]:
    (empty_folder / "calls.py").write_text(CALLS)
    made = fork_server(empty_folder, "calls")
    yield made
    made.close()


def start(server: ForkServer, call: str, *arguments: str) -> Forked:
    with Path("said.txt").open("ab") as log:
        return server.start(f"calls:{call}", arguments, log.fileno(), {"ONLY": "this"})


def test_a_process_gets_arguments_folder_and_environment_of_the_moment(
    server: ForkServer, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_folder / "other").mkdir()
    monkeypatch.chdir("other")
    process = start(server, "report", "a b", "")
    assert process.wait() == 7
    assert process.poll() == 7
    folder = empty_folder / "other"
    assert Path("said.txt").read_text() == (f'[["a b", ""], "{folder}", {{"ONLY": "this"}}, true, {server.pid}]\n')


@pytest.mark.parametrize("code", [0, 3])
def test_an_exit_status_is_told(server: ForkServer, code: int) -> None:
    assert start(server, "leave", str(code)).wait() == code


def test_an_error_is_said_and_costs_no_other(server: ForkServer) -> None:
    assert start(server, "fail").wait() == 1
    assert "ValueError: no such luck" in Path("said.txt").read_text()
    assert start(server, "leave", "0").wait() == 0


def test_processes_run_at_once_and_a_signal_reaches_one(server: ForkServer) -> None:
    both = [start(server, "sleep", name) for name in ("first", "second")]
    wait_for(lambda: all(Path(name).exists() for name in ("first", "second")), "both work")
    assert [process.poll() for process in both] == [None, None]
    both[0].send_signal(signal.SIGTERM)
    assert both[0].wait() == -signal.SIGTERM
    assert both[1].poll() is None
    both[1].send_signal(signal.SIGKILL)
    assert both[1].wait() == -signal.SIGKILL
    both[1].send_signal(signal.SIGKILL)  # ended: nobody is meant


def test_a_process_holds_nothing_of_others(server: ForkServer) -> None:
    """Neither their pipes, whose end would not be seen, nor the server's channel."""
    both = [start(server, "sleep", name) for name in ("first", "second")]
    wait_for(lambda: all(Path(name).exists() for name in ("first", "second")), "both work")
    for process in both:
        assert {file.name for file in Path(f"/proc/{process.pid}/fd").iterdir()} == {"0", "1", "2"}


def test_ctrl_c_is_for_those_that_work(server: ForkServer) -> None:
    process = start(server, "interrupted", "works")
    wait_for(Path("works").exists, "it works")
    for pid in (server.pid, process.pid):
        os.kill(pid, signal.SIGINT)
    assert process.wait() == 5
    assert start(server, "leave", "0").wait() == 0


SLOW = """
import threading, time
from pathlib import Path

threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
Path("imports").touch()
while not Path("go").exists():
    time.sleep(0.01)
"""


def test_neither_ctrl_c_while_it_imports_nor_threads_of_libraries_trouble_a_server(
    empty_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python warns of the fork of a process with threads from 3.12 on."""
    (empty_folder / "slow.py").write_text(SLOW)
    (empty_folder / "calls.py").write_text(CALLS)
    server = ForkServer(
        ["slow", "calls"], {**os.environ, "PYTHONPATH": os.pathsep.join([str(empty_folder), *sys.path])}
    )
    with contextlib.closing(server):
        wait_for(Path("imports").exists, "it imports", server._process)
        os.kill(server.pid, signal.SIGINT)
        Path("go").touch()
        assert start(server, "leave", "3").wait() == 3
    assert capfd.readouterr().err == ""


FULL = """
import os

fork, tried = os.fork, []

def once_full():
    tried.append(1)
    if len(tried) == 2:
        raise BlockingIOError("Resource temporarily unavailable")
    return fork()

os.fork = once_full
"""


def test_where_no_process_can_be_started_those_that_run_are_spared(empty_folder: Path) -> None:
    (empty_folder / "full.py").write_text(FULL)
    (empty_folder / "calls.py").write_text(CALLS)
    server = fork_server(empty_folder, "full", "calls")
    with contextlib.closing(server):
        running = start(server, "sleep", "works")
        with pytest.raises(ChildProcessError, match="no process can be started"):
            start(server, "leave", "0")
        assert start(server, "leave", "3").wait() == 3
        assert running.poll() is None


def test_where_the_server_is_killed_its_processes_end_and_others_are_refused(server: ForkServer) -> None:
    process = start(server, "sleep", "works")
    wait_for(Path("works").exists, "it works")
    os.kill(server.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not Path(f"/proc/{process.pid}").exists(), "it has ended")
    wait_for(lambda: not server.runs, "the server has ended")
    with pytest.raises(ChildProcessError, match="has ended"):
        start(server, "leave", "0")


ASKER = """
import os, sys
from pathlib import Path
from recbole_dtlns.training.fork_server import ForkServer
server = ForkServer(["calls"], os.environ)
process = server.start("calls:sleep", ["works"], 1, os.environ)
Path("pids").write_text(f"{server.pid} {process.pid}\\n")
process.wait()
"""


def test_none_outlives_who_asked_for_it(
    children: Children, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_folder / "calls.py").write_text(CALLS)
    monkeypatch.setenv("PYTHONPATH", str(empty_folder))
    asker = children.code(ASKER)
    wait_for(lambda: Path("pids").exists() and Path("pids").read_text().endswith("\n"), "it asked", asker)
    wait_for(Path("works").exists, "its process works", asker)
    asker.kill()
    for pid in Path("pids").read_text().split():
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "it has ended")
