"""The processes that train one model together, over torch.distributed; a single one needs none of it.

All of them hold the same weights, optimizer and random state, and are at the same step. What is split is the work: the
rows of a batch, and the batches of an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Result = TypeVar("Result")
_STEP = timedelta(minutes=30)  # that the slowest may be behind in a step
_PREPARATION = timedelta(days=30)  # which one process does, while the others wait
_patient: Any = None  # the group in which they wait; torch's groups cannot be copied, as models with a config are


@dataclass(frozen=True)
class Share:
    """What one process takes of a batch.

    Attributes:
        rows: places among the rows of the batch.
        weight: the mean over processes of weight times the mean over their rows is the mean over all rows.
    """

    rows: slice
    weight: float


@dataclass(frozen=True)
class Processes:
    """One of the processes of a run.

    Attributes:
        rank: its number among them, from 0.
        size: how many there are.
        on_machine: its number on its machine, from 0.
    """

    rank: int = 0
    size: int = 1
    on_machine: int = 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    @property
    def first(self) -> bool:
        """Whether it is the one that logs and writes."""
        return self.rank == 0

    def share(self, n_rows: int) -> Share:
        """Its part of a batch, as the others know it: neighbouring rows, as equal as can be.

        Where there are fewer rows than processes, some take the first row with weight 0, so that every process takes
        part in every step.
        """
        begin, end = (n_rows * rank // self.size for rank in (self.rank, self.rank + 1))
        if begin == end:
            return Share(slice(0, 1), 0.0)
        return Share(slice(begin, end), (end - begin) * self.size / n_rows)

    def takes(self, batch: int, n_batches: int) -> bool:
        """Whether a batch of an evaluation is its own: each process takes neighbouring ones, in order of rank."""
        return batch * self.size // n_batches == self.rank

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Of a tensor over the processes, the same on all of them, without gradient."""
        return self.total(values) / self.size

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over the processes, the same on all of them, without gradient."""
        total = values.detach().clone()
        if total.is_sparse:
            total = total.coalesce()
        dist.all_reduce(total)
        return total

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the mean of their gradients."""
        gradients = []
        for parameter in parameters:
            if parameter.grad is not None:
                if parameter.grad.is_sparse:  # rows that were looked up twice stand there twice
                    parameter.grad = parameter.grad.coalesce()
                gradients.append(parameter.grad)
        for sending in [dist.all_reduce(one, async_op=True) for one in gradients]:
            sending.wait()
        for one in gradients:
            one.div_(self.size)

    def of_all(self, value: Result) -> list[Result]:
        """What each process has, in order of rank."""
        if not self.several:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=_patient)
        return found

    def from_first(self, work: Callable[[], Result]) -> Result:
        """Let the first process do something, and tell the others what came of it."""
        if not self.several:
            return work()
        told: list[Any] = [work() if self.first else None]
        dist.broadcast_object_list(told, src=0, group=_patient)
        result: Result = told[0]
        return result

    def wait(self) -> None:
        """Until all are here."""
        self.from_first(lambda: None)
        self.of_all(None)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first process does the block, then the others, who find what it has stored."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Processes()


@contextmanager
def joined(host: str, port: int, rank: int, size: int, on_machine: int, on_gpu: bool) -> Iterator[Processes]:
    """Within the context, this process is one of several.

    Args:
        host, port: where the store is at which they meet.
        rank: its number among them.
        size: how many there are.
        on_machine: its number on its machine, and that of its GPU.
        on_gpu: whether they train on GPUs, over NCCL; else over gloo.
    """
    if on_gpu:
        torch.cuda.set_device(on_machine)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // size))
    store = dist.TCPStore(host, port, size, is_master=False, timeout=_STEP)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=_STEP
    )
    global _patient
    _patient = dist.new_group(backend="gloo", timeout=_PREPARATION)
    yield Processes(rank, size, on_machine)
    dist.destroy_process_group()  # not after an error: the others may be where they cannot answer


def lost_another(error: BaseException) -> bool:
    """Whether an error says that another process is gone, so that it is not itself what went wrong."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
