"""Where the blocks of a run are worked on: decided once, at its beginning."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Literal

import numpy as np

from recbole_dtlns.blocks.in_tasks import OnBlock
from recbole_dtlns.blocks.on_ray import RayTasks
from recbole_dtlns.blocks.shared_out import SharedOut
from recbole_dtlns.blocks.work import Give, Progress, working_with
from recbole_dtlns.components import ComponentConfig, SharedKey
from recbole_dtlns.ray_cluster import check_cluster, ray_cluster

INSTALL = "pip install 'recbole_dtlns[cluster]'"
_TASKS_PER_CORE = 8  # of a whole work: a worker that dies loses little, and the last to be done is not waited for long


class WhereConfig(ComponentConfig):
    """Where what falls into blocks is done; none of it changes a result."""

    prefix = ""

    prepare_on: Literal["local", "ray"] = "local"
    """Where the preparation is done: local (this process), or ray: what falls into blocks of items, users or pairs is
    done by tasks on a Ray cluster (dtlns_judge_ray_address), with the same results."""
    ray_address: Annotated[str | None, SharedKey("judge_ray_address")] = None
    """Address of the Ray cluster for dtlns_prepare_on; default: the one of this machine, started if need be."""

    def check(self) -> None:
        """Refuse a cluster that is not there, before any work.

        Raises:
            InstallationError: Ray is not installed.
            EngineError: nothing answers at the address.
        """
        if self.prepare_on == "ray":
            check_cluster(self.ray_address, INSTALL)


@contextmanager
def workers_of(flat: Mapping[str, Any], shows_progress: bool = False) -> Iterator[None]:
    """Within the context, blocks are worked on where flat keys say; a cluster is joined when there is work for it.

    Args:
        flat: values by flat key, without `dtlns_`.
        shows_progress: whether to show progress bars (only in a terminal).

    Raises:
        InstallationError: Ray is not installed.
        EngineError: nothing answers at the address.
    """
    config = WhereConfig.from_flat(flat)
    if config.prepare_on == "local":
        yield
        return
    config.check()
    with ExitStack() as connection, working_with(_OnRay(config.ray_address, shows_progress, connection)):
        yield


class _OnRay:
    """Workers of a cluster, which is joined with the first work."""

    def __init__(self, address: str | None, shows_progress: bool, connection: ExitStack) -> None:
        self._address, self._connection = address, connection
        self._shows_progress = shows_progress and sys.stderr.isatty()
        self._workers: SharedOut | None = None

    def __call__(
        self, function: OnBlock, shared: Any, blocks: Sequence[slice], work: str, progress: Progress, give: Give
    ) -> dict[str, np.ndarray]:
        if self._workers is None:
            tasks = RayTasks(self._connection.enter_context(ray_cluster(self._address, INSTALL)), self._shows_progress)
            self._workers = SharedOut(tasks, tasks=_TASKS_PER_CORE * tasks.cores)
        return self._workers(function, shared, blocks, work, progress, give)
