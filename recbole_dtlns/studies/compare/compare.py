"""Run the cells of an experiment, each in a process of its own, as many at once as there are cores; then compare."""

from __future__ import annotations

import atexit
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from recbole_dtlns.errors import ArtefactError, ConfigError, TrialError
from recbole_dtlns.storage.sealed_json import sealed
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.studies.compare.cell import CELL, FAILURE
from recbole_dtlns.studies.compare.cell_result import RESULT, is_finished, read_result
from recbole_dtlns.studies.compare.choosing import settled
from recbole_dtlns.studies.compare.comparison import Comparison
from recbole_dtlns.studies.compare.experiment import Cell, Experiment
from recbole_dtlns.studies.compare.experiment_file import read_experiment
from recbole_dtlns.studies.compare.results import chosen_on_validation, collect, read_results, refits
from recbole_dtlns.training.fork_server import Forked, ForkServer

CELLS, LOG = "cells", "log.txt"
_CELL_MODULE = "recbole_dtlns.studies.compare.cell"


def compare(
    experiment: str | Path,
    model: str | None = None,
    dataset: str | None = None,
    config_files: Sequence[str | Path] = (),
    *,
    output: str | Path | None = None,
    jobs: int | None = None,
    arguments: Sequence[str] = (),
    say: Callable[[str], object] = print,
) -> Comparison:
    """Run an experiment, or what is left of it, and compare its arms.

    What was done before with the same settings, data and seed is not done again: an interrupted comparison goes on
    when it is started again, and an arm added to the file is all that runs.

    Args:
        experiment: a yaml file, or the name of one that the package brings.
        model, dataset: in place of the file's.
        config_files: RecBole config files that all arms share.
        output: folder; default `compare_runs/<name of the experiment>-<dataset>`.
        jobs: runs at once; default: one per core, or one where a GPU is used.
        arguments: `--key=value` for all arms.
        say: told of every run.

    Raises:
        ConfigError: the experiment is wrong; nothing was run.
        TrialError: some runs failed; the others are finished, kept and compared.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}")
    plan = read_experiment(experiment, model, dataset, config_files, arguments)
    folder = Path(output or Path("compare_runs") / f"{plan.name}-{plan.any_cell.dataset}").resolve()
    write_file(folder / "experiment.json", json.dumps(asdict(plan), indent=1, default=str), "--output")
    at_once = _jobs(plan) if jobs is None else jobs

    def run(name: str, cells: dict[Cell, Path]) -> dict[Cell, str]:
        todo = {cell: path for cell, path in cells.items() if not _is_done(cell, path, say)}
        done = len(cells) - len(todo)
        say(f"{name}: {len(cells)} runs, {done} of them done before; {at_once} at once; files in {folder}")
        return _run_all(todo, at_once, say)

    of_trials = {trial.cell: _folder(folder, trial.cell) for trial in plan.trials}
    failed = run(f"{plan.name}, for validation to choose settings", of_trials) if of_trials else {}
    plan = settled(plan, read_results(of_trials))
    folders = {cell: _folder(folder, cell) for cell in plan.cells}
    failed |= run(plan.name, folders)
    of_chosen: dict[Cell, Path] = {}
    if plan.test_best and not failed:
        chosen = chosen_on_validation(plan, read_results(folders))
        cells = [replace(cell, measured="test") for cell in plan.cells if (cell.split, cell.arm) in chosen]
        of_chosen = {cell: _folder(folder, cell) for cell in cells}
        failed = run(f"{plan.name}, what validation chose", of_chosen)
    of_refits: dict[Cell, Path] = {}
    if plan.refit and not failed:
        measured = of_chosen if plan.test_best is not None else folders
        of_refits = {cell: _folder(folder, cell) for cell in refits(read_results(measured))}
        failed = run(f"{plan.name}, refitted on train and validation", of_refits)
    found = collect(plan, folder, folders, of_chosen, of_refits)
    if failed:
        text = "\n".join(f"  {cell.title}: {reason}" for cell, reason in failed.items())
        runs = len(of_trials) + len(folders) + len(of_chosen) + len(of_refits)
        raise TrialError(
            f"{len(failed)} of {runs} runs failed; the others are compared in "
            f"{folder / 'comparison.md'}. Started again, only these run:\n{text}"
        )
    return found


def _folder(folder: Path, cell: Cell) -> Path:
    """Of a run with the same digest, whatever the arm was called then, or a new one."""
    return next((folder / CELLS).glob(f"*_{cell.digest}"), folder / CELLS / cell.folder_name)


def _is_done(cell: Cell, folder: Path, say: Callable[[str], object]) -> bool:
    if not (folder / RESULT).exists():
        return False
    try:
        read_result(folder, cell.digest)
    except ArtefactError as error:
        say(f"{error}: this run is done again")
        return False
    return True


def _jobs(plan: Experiment) -> int:
    uses_gpu = plan.any_cell.config()["device"].type != "cpu"
    return 1 if uses_gpu else _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_all(todo: dict[Cell, Path], jobs: int, say: Callable[[str], object]) -> dict[Cell, str]:
    """Returns the cells that failed, with the reason."""
    failed: dict[Cell, str] = {}
    processes = _Processes(threads=max(1, _cores() // jobs))
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(processes.run, cell, path): cell for cell, path in todo.items()}
        try:
            for done, future in enumerate(as_completed(running), start=1):
                cell = running[future]
                seconds, reason = future.result()
                if reason:
                    failed[cell] = reason
                say(f"[{done}/{len(todo)}] {cell.title}: {f'FAILED: {reason}' if reason else f'{seconds:.0f} s'}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise
    return failed


class _Processes:
    """The running cells; they end with this process, however it ends."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._running: set[Forked] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.send_signal(signal.SIGTERM)

    def run(self, cell: Cell, folder: Path) -> tuple[float, str]:
        """Run a cell; returns its seconds, and why it failed ("" if it did not)."""
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        (folder / FAILURE).unlink(missing_ok=True)
        write_file(folder / CELL, sealed(asdict(cell)), "--output")
        try:
            with (folder / LOG).open("ab") as log, self._started(folder, log) as process:
                code = process.wait()
        except ChildProcessError as error:
            return time.perf_counter() - began, str(error)
        return time.perf_counter() - began, "" if is_finished(folder, cell.digest) else _reason(folder, code)

    @contextmanager
    def _started(self, folder: Path, log: IO[bytes]) -> Iterator[Forked]:
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            server = _server(self._threads)
            process = server.start(f"{_CELL_MODULE}:main", [str(folder)], log.fileno(), self._environment)
            self._running.add(process)
        try:
            yield process
        finally:
            with self._lock:
                self._running.discard(process)


_servers: dict[int, ForkServer] = {}


def _server(threads: int) -> ForkServer:
    """Starts cells, for as long as this process lives."""
    server = _servers.get(threads)
    if server is None or not server.runs:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        server = _servers[threads] = ForkServer([_CELL_MODULE], environment)
        atexit.register(server.close)
    return server


def _reason(folder: Path, code: int) -> str:
    if (folder / FAILURE).exists():
        return (folder / FAILURE).read_text(errors="replace") or f"{folder / FAILURE} is empty: see {folder / LOG}"
    if code < 0:
        return f"killed by signal {-code} (9: perhaps out of memory; try --jobs=1); log: {folder / LOG}"
    lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else f'exit status {code}'} (log: {folder / LOG})"
