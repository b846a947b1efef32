"""What becomes of tasks that fail on a cluster, on one that is played: what Ray says is told from what a block says."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recbole_dtlns.blocks.on_ray import RayTasks
from recbole_dtlns.blocks.shared_out import SharedOut
from recbole_dtlns.blocks.where import workers_of
from recbole_dtlns.blocks.work import over_blocks, working_with
from recbole_dtlns.errors import DataError, EngineError, InstallationError, ProcessError

BLOCKS = [slice(first, first + 2) for first in range(0, 12, 2)]
NUMBERS = np.arange(12)


class RayError(Exception):
    pass


class WorkerCrashedError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class RaySystemError(RayError):
    pass


class UnserializableException(RayError):
    pass


class RayTaskError(RayError):
    """As Ray has it: its text ends as the worker's traceback does."""

    def __init__(self, cause: BaseException, said: str) -> None:
        super().__init__(f"ray::in_task() (pid=1)\n  File in_tasks.py\n{said}")
        self.cause = cause


EXCEPTIONS = SimpleNamespace(
    RayError=RayError,
    RayTaskError=RayTaskError,
    OutOfMemoryError=OutOfMemoryError,
    RaySystemError=RaySystemError,
    UnserializableException=UnserializableException,
)


class Task:
    def __init__(self, function: Any) -> None:
        self.function = function

    def remote(self, *arguments: Any) -> Task:
        sent = Task(self.function)
        sent.arguments = arguments
        return sent


class Played:
    """A cluster on which one task after the other is done.

    Args:
        says: errors of the tasks that are done first; the others have their results.
        cores: how many it has, from one question to the next.
        silent: so many times nothing is done within the time that is waited.
    """

    exceptions = EXCEPTIONS

    def __init__(self, says: Sequence[Exception] = (), cores: Sequence[int] = (2,), silent: int = 0) -> None:
        self.says, self.cores, self.silent = deque(says), deque(cores), silent
        self.at_once: list[int] = []
        self.cancelled: list[Task] = []
        self.cancel = self.cancelled.append

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cores.popleft() if len(self.cores) > 1 else self.cores[0]}

    def put(self, shared: Any) -> Any:
        return shared

    def remote(self, **options: Any) -> type[Task]:
        self.options = options
        return Task

    def wait(self, running: list[Task], num_returns: int, timeout: float) -> tuple[list[Task], list[Task]]:
        self.at_once.append(len(running))
        if self.silent:
            self.silent -= 1
            return [], running
        return running[:1], running[1:]

    def get(self, task: Task) -> Any:
        if self.says:
            raise self.says.popleft()
        return task.function(*task.arguments)


def doubled(shared: np.ndarray, block: slice) -> dict[str, np.ndarray]:
    return {"doubled": 2 * shared[block]}


def worked_on(ray: Played, blocks_per_task: int = 1) -> np.ndarray:
    with working_with(SharedOut(RayTasks(ray), blocks_per_task)):
        return over_blocks(doubled, NUMBERS, BLOCKS, "numbers")["doubled"]


LOST = [
    WorkerCrashedError("The worker died.\nCheck its log."),
    OutOfMemoryError("The worker died.\nMore lines."),
    RayTaskError(MemoryError("no more"), "MemoryError: no more"),
    RayTaskError(WorkerCrashedError("an argument was lost"), "WorkerCrashedError: an argument was lost"),
]
SAID = ["The worker died.", "The worker died.", "MemoryError: no more", "WorkerCrashedError: an argument was lost"]


@pytest.mark.parametrize(("lost", "said"), list(zip(LOST, SAID, strict=True)))
def test_a_worker_may_be_lost_three_times_with_the_same_blocks(
    lost: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert np.array_equal(worked_on(Played([lost] * 3), 6), 2 * NUMBERS)
    assert caplog.messages == [f"ray: a worker was lost with the blocks 0 to 5 of 'numbers': {said}"] * 3
    with pytest.raises(ProcessError, match=rf"^4 workers .*{re.escape(said)}\)\. Give nodes more memory"):
        worked_on(Played([lost] * 4), 6)


def test_a_task_has_a_core_and_is_given_to_another_worker_by_us_alone() -> None:
    """Ray's own retries have no end where memory is short."""
    ray = Played()
    worked_on(ray)
    assert ray.options == {"num_cpus": 1, "max_retries": 0}


def test_a_node_of_another_version_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_dtlns.blocks.on_ray.__version__", "9")
    with pytest.raises(ImportError, match=r"and the run is of 9$"):
        worked_on(Played())


def test_deaths_of_different_blocks_are_not_added_up() -> None:
    assert np.array_equal(worked_on(Played([LOST[0]] * 6)), 2 * NUMBERS)


@pytest.mark.parametrize("lost", LOST[1:3])
def test_where_memory_was_short_fewer_tasks_are_given_at_once(lost: Exception) -> None:
    ray = Played([lost, lost])
    assert np.array_equal(worked_on(ray), 2 * NUMBERS)
    assert ray.at_once == [4, 3, 2, 1, 1, 1, 1, 1]


def test_as_many_tasks_as_keep_every_core_busy_are_given_at_once() -> None:
    ray = Played(cores=[1])
    worked_on(ray)
    assert ray.at_once == [2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("it has 0.0.9"), "ImportError: it has 0.0.9"),
        (RaySystemError("args"), "ModuleNotFoundError: No module named 'recbole_dtlns'"),
        (RuntimeError("failed to import\nNo module"), "ModuleNotFoundError: No module named 'recbole_dtlns'"),
    ],
)
def test_a_node_without_the_package_is_named_at_once(error: Exception, said: str) -> None:
    """Ray says so in one of three ways: by which of function, arguments and work is met first."""
    with pytest.raises(InstallationError, match=rf"cannot import .*{re.escape(said.split(': ')[1])}\)"):
        worked_on(Played([RayTaskError(error, said)]))


def test_what_a_block_says_is_said_here_and_the_others_are_cancelled() -> None:
    ray = Played([RayTaskError(DataError("not for us"), "DataError: not for us")])
    with pytest.raises(DataError, match=r"^not for us$"):
        worked_on(ray)
    assert len(ray.cancelled) == 3


@pytest.mark.parametrize(
    "error",
    [
        RayTaskError(RayError("Exception Locked isn't serializable"), "of_blocks.Locked: not for us"),
        RayTaskError(RaySystemError("System error"), "of_blocks.Locked: not for us"),
        RaySystemError("System error\nof_blocks.Locked: not for us"),
        UnserializableException("Failed to deserialize exception.\nof_blocks.Locked: not for us"),
    ],
)
def test_an_error_that_cannot_be_carried_is_told_and_no_death(error: Exception) -> None:
    with pytest.raises(ProcessError, match=r"failed at the blocks 0 to 0 of 'numbers': of_blocks\.Locked: not for us$"):
        worked_on(Played([error]))


def test_a_cluster_without_cores_is_refused_and_one_that_lost_them_is_not_waited_for() -> None:
    with pytest.raises(EngineError, match="no node of the Ray cluster has a CPU"):
        RayTasks(Played(cores=[0]))
    with pytest.raises(EngineError, match="no node of the Ray cluster has a CPU"):
        worked_on(Played(cores=[2, 2, 0], silent=2))
    assert np.array_equal(worked_on(Played(cores=[2, 1], silent=5)), 2 * NUMBERS)  # blocks that take long


def test_a_cluster_is_joined_with_the_first_work_once_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []

    @contextmanager
    def cluster(address: str, install: str) -> Iterator[Played]:
        joined.append(address)
        yield Played()
        joined.append("left")

    monkeypatch.setattr("recbole_dtlns.blocks.where.check_cluster", lambda address, install: None)
    monkeypatch.setattr("recbole_dtlns.blocks.where.ray_cluster", cluster)
    with workers_of({"prepare_on": "ray", "judge_ray_address": "there:1"}):
        assert joined == []
        for _ in range(2):
            assert np.array_equal(over_blocks(doubled, NUMBERS, BLOCKS, "numbers")["doubled"], 2 * NUMBERS)
    assert joined == ["there:1", "left"]


def test_a_cluster_that_is_not_there_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, install: str) -> None:
        raise EngineError(f"nothing at {address}")

    monkeypatch.setattr("recbole_dtlns.blocks.where.check_cluster", refuse)
    flat = {"prepare_on": "ray", "judge_ray_address": "there:1"}
    with pytest.raises(EngineError, match="nothing at there:1"), workers_of(flat):
        pytest.fail("work began")
    with workers_of({**flat, "prepare_on": "local"}):
        over_blocks(doubled, NUMBERS, BLOCKS, "numbers")
