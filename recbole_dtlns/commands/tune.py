"""`recbole-dtlns tune`: a search is run, drawn, and its best evaluated on test once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_dtlns.commands.command import Command, run_arguments
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import ConfigError

if TYPE_CHECKING:
    from recbole_dtlns.studies.tune.results import SearchResult, Trials

# Names of options that `Plan` takes as they are; its defaults are named in the help, for it is not imported where
# RecBole may be missing.
_OF_PLAN = ("samples", "search", "scheduler", "grace", "concurrent", "cpus", "gpus", "seed")


@quiet_recbole()
def tune(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    space: str | Path | dict[str, Any],
    storage: str | Path = "tune_runs",
    name: str | None = None,
    address: str | None = None,
    arguments: Sequence[str] = (),
    **options: Any,
) -> SearchResult:
    """Search, evaluate the best trial on test once, and write everything to `storage/name`.

    Args:
        model, dataset, config_file_list, config_dict, arguments: as for `run_recbole_dtlns`.
        space: a space file, or a dictionary of its form (`recbole_dtlns.studies.tune.space`).
        storage: folder of all searches; on a cluster, one that all nodes share.
        name: of this search; default: model and data set.
        address: of a Ray cluster; None: the one of this machine, else one for this search; "local": always the latter.
        options: `samples`, `search`, `scheduler`, `concurrent`, `cpus`, `gpus`, `grace`, `checkpoint_every`,
            `max_failures`, `seed`, as described at `Plan`.

    Raises:
        ConfigError: the space, a setting or an option is wrong; before anything is computed.
        TrialError: every trial failed.
    """
    from recbole_dtlns.bridge.config import DTLNSConfig
    from recbole_dtlns.studies.tune.search import search
    from recbole_dtlns.studies.tune.space import parse_space, read_space

    parameters = parse_space(space) if isinstance(space, dict) else read_space(space)
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    return _drawn_and_tested(search(config, parameters, storage, name, address, **options))


@quiet_recbole()
def resume_tune(folder: str | Path, address: str | None = None) -> SearchResult:
    """Go on with a search that was interrupted: unfinished trials from their checkpoints, finished ones not again."""
    from recbole_dtlns.studies.tune.search import resume

    return _drawn_and_tested(resume(folder, address))


def _drawn_and_tested(trials: Trials) -> SearchResult:
    from recbole_dtlns.reports.search import write_pages
    from recbole_dtlns.studies.tune.results import tested

    write_pages(trials)
    return tested(trials)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--space", help="what is searched: a yaml file, or RecBole's .test lines")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with an interrupted search; all else is as it was")
    parser.add_argument("--samples", type=int, help="trials (grid: times through the grid) (default 20)")
    parser.add_argument("--search", help="random, grid, optuna or hyperopt (default random)")
    parser.add_argument("--scheduler", help="asha, median or none: stops bad trials (default asha)")
    parser.add_argument("--grace", type=int, help="evaluations before a trial may be stopped (default 10)")
    parser.add_argument("--concurrent", type=int, help="trials at once at most (default: as many as have room)")
    parser.add_argument("--cpus", type=float, help="CPUs of a trial (default 1)")
    parser.add_argument("--gpus", type=float, help="GPUs of a trial; 0.5 lets two share one (default 0)")
    parser.add_argument("--storage", default="tune_runs", help="folder of searches; all nodes share it (tune_runs)")
    parser.add_argument("--name", help="of this search's folder (default MODEL-DATASET)")
    parser.add_argument(
        "--address",
        help="of a Ray cluster; local: one for this search (default: the one of this machine, else local)",
    )
    parser.add_argument("--search-seed", dest="seed", type=int, help="of the search, not of the runs (default 42)")


def _run(given: argparse.Namespace) -> int:
    run = run_arguments(given)
    if given.resume:
        if given.space or any(run.values()):
            raise ConfigError("--resume goes on with a search as it was: give its folder, and nothing else")
        found = resume_tune(given.resume, given.address)
    elif not given.space:
        raise ConfigError("tune needs --space=FILE, or --resume=FOLDER")
    else:
        options = {name: getattr(given, name) for name in _OF_PLAN if getattr(given, name) is not None}
        found = tune(**run, space=given.space, storage=given.storage, name=given.name, address=given.address, **options)
    print(found.text())
    return 0


COMMAND = Command("search for settings with Ray Tune, and evaluate the best on test once", _run, _add_options)
