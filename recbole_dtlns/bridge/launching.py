"""Starts the processes of a run that has several, and ends all of them when one fails."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from recbole_dtlns import errors
from recbole_dtlns.bridge.data.labels import labels_rows
from recbole_dtlns.bridge.training.tensorboard import no_tensorboard
from recbole_dtlns.errors import ConfigError, DTLNSError, ProcessError, UnsupportedModelError
from recbole_dtlns.training.parent_watch import end_with
from recbole_dtlns.training.processes import joined, lost_another

logger = logging.getLogger("recbole_dtlns")

_GRACE = 5.0  # seconds in which the other processes of one that failed, or all after Ctrl-C, may end themselves
_START = "spawn"  # a forked process cannot use the threads and GPUs of the one that it was forked from
PORT = 5678  # RecBole's own, where machines are to find each other


@dataclass(frozen=True)
class Group:
    """The processes of a run, by RecBole's keys.

    Attributes:
        here: `nproc`, those of this machine.
        size: `world_size`, those of all machines.
        offset: `group_offset`, those of the machines before this one.
        ip: of the first machine.
        port: of the store there at which they meet; 0 for any that is free.
        on_gpu: whether each has a GPU of its own.
    """

    here: int
    size: int
    offset: int
    ip: str
    port: int
    on_gpu: bool

    @classmethod
    def of(cls, config: Any) -> Group:
        """As the configuration has it.

        Raises:
            ConfigError: the keys contradict each other.
        """
        here, offset = config["nproc"] or 1, config["group_offset"] or 0
        given = config["world_size"]
        size = here if given in (None, -1) else given
        ip = config["ip"]
        if here + offset > size:
            raise ConfigError(
                f"nproc: {here} with group_offset: {offset} are more than world_size: {size}: world_size counts the "
                "processes of all machines"
            )
        if here < size and ip is None:
            raise ConfigError(
                f"world_size: {size} is more than nproc: {here}, so there are other machines: set ip to the address of "
                "the first, at which all of them meet"
            )
        port = config["port"] or (PORT if here < size else 0)
        return cls(here, size, offset, ip or "localhost", int(port), config["device"].type == "cuda")


def asks_for_several(config: Any) -> bool:
    """Whether a run is to train on several processes."""
    return Group.of(config).size > 1


def refuse_several(config: Any) -> None:
    """For what trains in one process.

    Raises:
        ConfigError: the configuration asks for several.
    """
    if not config.processes.several and asks_for_several(config):
        raise ConfigError(
            "nproc is for `recbole-dtlns train` and run_recbole_dtlns: what trains many models, or looks at a run from "
            "inside, has one process for each. Leave nproc and world_size out"
        )


def check_several(config: Any) -> None:
    """Refuse what several processes cannot do as one would, before they are started.

    Raises:
        ConfigError: the message names the key.
        UnsupportedModelError: the other processes cannot find the model's class.
    """
    group, settings = Group.of(config), config.settings
    if config.model_class.__module__ == "__main__":
        raise UnsupportedModelError(
            f"nproc: {group.here} starts other processes, which cannot import {config.model_class.__name__} from the "
            "program that runs: put the class into a module"
        )
    if config.kind.reads_facts:
        raise UnsupportedModelError(
            f"{config['model']} learns from rows and from facts, and several processes share rows: leave nproc out"
        )
    if settings.makes_rows and labels_rows(config):
        raise UnsupportedModelError(
            f"nproc: {group.here} shares equal blocks of a batch's rows, and where the data label rows, negatives are "
            "drawn for those that are liked alone: leave nproc or the labels out, or set dtlns_preset: off"
        )
    if settings.sampler_class is not None and settings.sampler_class.remembers:
        raise ConfigError(
            f"dtlns_sampler: {settings.sampler} remembers items of every user from batch to batch, and each process "
            "sees a part of the batches' rows: choose another sampler, or leave nproc out"
        )
    try:
        socket.getaddrinfo(group.ip, group.port)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"ip: {group.ip} cannot be looked up ({getattr(error, 'strerror', None) or error}): set it to the address "
            "of the first machine, or leave it out on one"
        ) from None
    if group.on_gpu and torch.cuda.device_count() < group.here:
        raise ConfigError(
            f"nproc: {group.here} needs as many GPUs, and gpu_id: {config['gpu_id']} shows "
            f"{torch.cuda.device_count()}: name them (gpu_id: '0,1'), or set use_gpu: False"
        )
    if settings.sparse_gradients and group.on_gpu:
        raise ConfigError("dtlns_sparse_gradients: True on GPUs is for one: NCCL adds no sparse gradients up")
    if config["enable_scaler"] and group.on_gpu:
        raise ConfigError("enable_scaler: True scales gradients in each process by itself: leave it or nproc out")


@dataclass(frozen=True)
class _Failure:
    """What went wrong in a process: the class of an error of this package and its message, or a trace."""

    kind: str
    text: str
    lost_another: bool


def run_on_several(work: Callable[..., Any], arguments: tuple[Any, ...], group: Group) -> Any:
    """What `work(processes, *arguments)` returns on the first of this machine's processes.

    Args:
        work: done by every process; it and its arguments can be pickled.
        arguments: given to all.
        group: how many there are.

    Raises:
        DTLNSError: as a process raised it; `ProcessError` where one was ended, or failed otherwise. The others are
            ended too.
    """
    port, store = group.port, None
    if group.offset == 0:
        store = dist.TCPStore(group.ip, group.port, group.size, is_master=True, wait_for_workers=False)
        port = store.port
    results = mp.get_context(_START).SimpleQueue()
    given = (work, arguments, group, port, results, mp.get_start_method(), os.getpid())
    spawned = mp.start_processes(_in_process, given, nprocs=group.here, join=False, start_method=_START)
    try:
        while not spawned.join(grace_period=_GRACE):
            pass
    except (ProcessExitedException, ProcessRaisedException) as error:
        raise _cause(_received(results), error, spawned.processes, group) from None
    except KeyboardInterrupt:
        _wait_for(spawned.processes)  # Ctrl-C reaches them too, and the first says what to go on with
        raise
    finally:
        for process in spawned.processes:  # where this one was interrupted
            process.terminate()
            process.join()
    return next(one for one in _received(results) if not isinstance(one, _Failure))[0]


def _wait_for(processes: Sequence[Any]) -> None:
    """Until they have ended, and no longer than their grace."""
    end = time.monotonic() + _GRACE
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))


def _in_process(
    index: int,
    work: Callable[..., Any],
    arguments: Any,
    group: Group,
    port: int,
    results: Any,
    start: str,
    starter: int,
) -> None:
    end_with(starter)  # torch's own signal misses one that is still importing, or waits where none reaches Python
    mp.set_start_method(start, force=True)  # workers of loaders are started as in a run of one process
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a script: torch sends it to
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # processes whose parent is gone
    rank = group.offset + index
    if rank:
        logging.disable(logging.WARNING)  # the first says it
        warnings.simplefilter("ignore")
    try:
        with (
            no_tensorboard() if rank else nullcontext(),
            joined(group.ip, port, rank, group.size, index, group.on_gpu) as processes,
        ):
            result = work(processes, *arguments)
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
        text = str(error) if kinds else traceback.format_exc()
        results.put(_Failure(kinds[0] if kinds else "", text, lost_another(error)))
        raise
    if index == 0:
        results.put((result,))


def _received(results: Any) -> list[Any]:
    found = []
    while not results.empty():
        found.append(results.get())
    return found


def _cause(received: list[Any], first: Exception, processes: Sequence[Any], group: Group) -> DTLNSError:
    """The error of the run: what a process said before it ended, else how it was ended.

    One that lost its connection to another says so too, and is not the cause.
    """
    advice = "The others were ended too; what was saved can be gone on with (resume_from)"
    for failure in (one for one in received if isinstance(one, _Failure) and not one.lost_another):
        if failure.kind:
            kind: type[DTLNSError] = getattr(errors, failure.kind)
            return kind(failure.text)
        return ProcessError(f"one of {group.size} processes failed. {advice}\n{failure.text.strip()}")
    codes = {process.pid: process.exitcode for process in processes}
    by_signal = [pid for pid, code in codes.items() if code < 0 and code != -signal.SIGTERM]
    if isinstance(first, ProcessExitedException) and first.exit_code < 0:
        by_signal.insert(0, first.error_pid)
    for pid in by_signal:
        ended = f"process {pid}, one of {group.size}, was ended by {signal.Signals(-codes[pid]).name}"
        return ProcessError(f"{ended} (out of memory?). {advice}")
    return ProcessError(f"one of {group.size} processes lost its connection to another. {advice}\n{first}")
