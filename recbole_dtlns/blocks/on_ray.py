"""Tasks of blocks on a Ray cluster: Ray schedules and carries, and what dies with a worker is given to another."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_dtlns.blocks.in_tasks import OnBlock, in_task
from recbole_dtlns.blocks.shared_out import Tasks
from recbole_dtlns.errors import EngineError, InstallationError, ProcessError
from recbole_dtlns.version import __version__

logger = logging.getLogger("recbole_dtlns")

_TASKS_PER_CORE = 2  # given to Ray at once: a core that is done has the next one, and few results wait for the driver
_DEATHS = 3  # of a task's workers, that are borne
_PATIENCE = 300.0  # seconds without a result, after which a cluster that has no core any more is not waited for


class RayTasks:
    """Does tasks of blocks on a cluster.

    Args:
        ray: the module, connected.
        shows_progress: whether there is somebody to see a bar.

    Attributes:
        cores: of the cluster.
    """

    def __init__(self, ray: Any, shows_progress: bool = False) -> None:
        self._ray, self._shows_progress = ray, shows_progress
        self.cores = self._refuse_no_cores()

    def __call__(
        self, function: OnBlock, shared: Any, tasks: Tasks, work: str
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        """The results of every task, as they come.

        Raises:
            ProcessError: a task's workers died again and again, or what a block said cannot be said again here.
            InstallationError: a node does not have this package, or another version of it.
            EngineError: no node is left.
        """
        ray = self._ray
        # Retries are ours: Ray's own have no end where the memory does.
        task = ray.remote(num_cpus=1, max_retries=0)(in_task)
        sent = ray.put(shared)
        waiting, deaths = deque(tasks), Counter[range]()
        running: dict[Any, range] = {}
        at_once = _TASKS_PER_CORE * self.cores
        n_blocks = sum(map(len, tasks))
        logger.debug("%s: %d blocks in %d tasks on Ray", work, n_blocks, len(tasks))
        with tqdm(total=n_blocks, desc=work, unit="block", disable=not self._shows_progress, leave=False) as bar:
            try:
                while waiting or running:
                    while waiting and len(running) < at_once:
                        part = waiting.popleft()
                        running[task.remote(__version__, function, sent, tasks[part])] = part
                    done, _ = ray.wait(list(running), num_returns=1, timeout=_PATIENCE)
                    if not done:
                        self._refuse_no_cores()
                        continue
                    (ready,) = done
                    part = running.pop(ready)
                    try:
                        found = ray.get(ready)
                    except ray.exceptions.RayError as error:
                        self._bear(error, work, part, deaths)
                        waiting.appendleft(part)
                        if isinstance(_cause(error), (ray.exceptions.OutOfMemoryError, MemoryError)):
                            at_once = max(1, at_once // 2)
                        continue
                    del ready, done  # Ray then forgets what it holds for it
                    bar.update(len(part))
                    yield part, found
            finally:
                for reference in running:
                    ray.cancel(reference)

    def _refuse_no_cores(self) -> int:
        """The cores of the cluster, of which there must be one."""
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        if cores < 1:
            raise EngineError(
                "no node of the Ray cluster has a CPU to give: add nodes, or set dtlns_prepare_on: local (--on=local, "
                "to recommend)"
            )
        return cores

    def _bear(self, error: Exception, work: str, part: range, deaths: Counter[range]) -> None:
        """Let a worker's death pass, unless it is one too many; what a block itself said is said again."""
        exceptions = self._ray.exceptions
        blocks = f"the blocks {part[0]} to {part[-1]} of '{work}'"
        lines, cause = str(error).strip().splitlines(), _cause(error)
        if lines[-1].startswith(("ImportError:", "ModuleNotFoundError:")):
            raise InstallationError(
                f"a node of the Ray cluster cannot import what the work needs ({lines[-1].partition(': ')[2]}): "
                "install the same version of recbole_dtlns on every node"
            ) from error
        if not isinstance(cause, (exceptions.RayError, MemoryError)):
            raise cause from error
        # Ray's words for an error that cannot be carried from one process to another: it would be the same again.
        if type(cause) is exceptions.RayError or isinstance(
            cause, (exceptions.RaySystemError, exceptions.UnserializableException)
        ):
            raise ProcessError(f"a worker of the Ray cluster failed at {blocks}: {lines[-1]}") from error
        deaths[part] += 1
        said = lines[-1 if isinstance(error, exceptions.RayTaskError) else 0]
        logger.warning("ray: a worker was lost with %s: %s", blocks, said)
        if deaths[part] > _DEATHS:
            raise ProcessError(
                f"{deaths[part]} workers of the Ray cluster were lost, one after the other, with {blocks} ({said}). "
                "Give nodes more memory, or fewer CPUs so that fewer tasks share it, and run again: what is done is "
                "kept"
            ) from error


def _cause(error: Exception) -> BaseException:
    """What went wrong on the worker, or the error itself where the worker did not live to say it."""
    return getattr(error, "cause", None) or error
