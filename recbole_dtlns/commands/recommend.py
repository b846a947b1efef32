"""`recbole-dtlns recommend`."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_dtlns.commands.command import Command

if TYPE_CHECKING:
    from recbole_dtlns.bridge.serving.shared_ranking import Asked
    from recbole_dtlns.bridge.serving.trained_run import Exclusion, TrainedRun
    from recbole_dtlns.serving.recommendation_file import RecommendationFile
    from recbole_dtlns.serving.recommendations import Recommendations

NONE = "none"


def add_run(parser: argparse.ArgumentParser) -> None:
    """The run that a command is about."""
    parser.add_argument("run", metavar="RUN", help="run folder, as train prints it")
    parser.add_argument("--allow-leaking", action="store_true", help="take a run of the protocol 'authors' too")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU where there is one)")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--k", type=int, default=20, help="items per user (default 20)")
    parser.add_argument(
        "--histories",
        metavar="FILE",
        help="for sequential models: what follows these items, a table with the columns of users and items, in order "
        "or with that of times (.tsv, .parquet); the users are those of the table",
    )
    parser.add_argument("--users", metavar="FILE", help="tokens, one a line (default: all users of the run)")
    parser.add_argument(
        "--exclude",
        default="observed",
        help="observed (default: what the data set holds of the user), evaluation (train and validation, as the "
        "metrics on test leave out), none, or a table with the columns of users and items (.tsv, .parquet)",
    )
    parser.add_argument("--candidates", metavar="FILE", help="items that may be recommended, one a line (default: all)")
    parser.add_argument(
        "--on", choices=("local", "ray"), default="local", help="ray: the workers of a Ray cluster share the users"
    )
    parser.add_argument("--address", help="of the Ray cluster (default: the one of this machine, started if need be)")
    parser.add_argument("--output", required=True, help="file to write: .parquet, .tsv or .jsonl")


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.blocks.where import INSTALL
    from recbole_dtlns.bridge.serving.shared_ranking import Asked, RunToAsk
    from recbole_dtlns.errors import ConfigError, DataError
    from recbole_dtlns.ray_cluster import check_cluster
    from recbole_dtlns.serving.recommendation_file import RecommendationFile, read_tokens
    from recbole_dtlns.training.checkpoint import BEST

    for option in ("users", "histories", "candidates"):
        if getattr(given, option) == "":
            raise ConfigError(f"--{option}= names no file: name one, or leave the option out")
    if given.on == "ray":
        check_cluster(given.address, INSTALL)
    elif given.address is not None:
        raise ConfigError("--address is that of a Ray cluster: add --on=ray")
    file = RecommendationFile(given.output)
    histories = Path(given.histories) if given.histories else None
    to_ask = RunToAsk(Path(given.run), histories, given.allow_leaking, given.device)
    run = to_ask.load()
    users, unknown = run.parted(read_tokens(given.users)) if given.users else (run.users.tolist(), "")
    if not users:
        raise DataError(f"{given.users} names no user of the run: {unknown or 'it is empty'}")
    if unknown:
        print(f"recbole-dtlns: {_sentence(unknown)} The other {len(users)} are served", file=sys.stderr)
    exclude = _exclusion(given.exclude, run)
    candidates = _candidates(given.candidates, run) if given.candidates else None

    def recommend(some: Sequence[str]) -> Recommendations:
        return run.recommend(some, given.k, exclude, candidates)

    request = {
        "model": _digest(run.folder / BEST),
        "k": given.k,
        "users": _digest(given.users),
        "histories": _digest(given.histories),
        "exclude": given.exclude,
        "excluded": _digest(given.exclude if Path(given.exclude).is_file() else None),
        "candidates": _digest(given.candidates),
    }
    recommend(users[:1])  # what is wrong with the options is said before anything is written
    if given.on == "ray":
        asked = Asked(to_ask.sent(str(request)), users, given.k, exclude, candidates)
        _write_on_ray(file, given.address, asked, run, request)
    else:
        file.write(users, recommend, request)
    mark = "LEAKING: " if run.leaking else ""
    print(f"{mark}at most {given.k} items for each of {len(users)} users: {file.path}")
    return 0


def _write_on_ray(
    file: RecommendationFile, address: str | None, asked: Asked, run: TrainedRun, request: Mapping[str, Any]
) -> None:
    from recbole_dtlns.blocks.on_ray import RayTasks
    from recbole_dtlns.blocks.where import INSTALL
    from recbole_dtlns.bridge.serving.shared_ranking import recommended_by
    from recbole_dtlns.ray_cluster import ray_cluster

    with ray_cluster(address, INSTALL) as ray:
        tasks = RayTasks(ray)
        file.write_as_they_come(
            len(asked.users), lambda shards: recommended_by(tasks, asked, run.columns, shards), request
        )


def _exclusion(given: str, run: TrainedRun) -> Exclusion:
    from recbole_dtlns.bridge.serving.trained_run import EVALUATION, OBSERVED
    from recbole_dtlns.data.pair_table import positions, read_pairs
    from recbole_dtlns.errors import ConfigError
    from recbole_dtlns.registry import nearest

    if given in (OBSERVED, EVALUATION):
        return given
    if given == NONE:
        return None
    if not Path(given).is_file():
        raise ConfigError(
            f"--exclude={given}: it must be {OBSERVED}, {EVALUATION}, {NONE}, or a file (looked in {Path.cwd()})."
            f"{nearest(given, (OBSERVED, EVALUATION, NONE))}"
        )
    pairs = read_pairs(given, run.columns)
    users, items = (
        positions(tokens, pairs[column]) for column, tokens in zip(run.columns, (run.users, run.items), strict=True)
    )
    known = (users >= 0) & (items >= 0)
    if not known.all():
        print(
            f"recbole-dtlns: {int((~known).sum())} of {len(pairs)} rows of {given} name a user or an item that is "
            "unknown to the model: these leave nothing out",
            file=sys.stderr,
        )
    leave_out: dict[str, list[str]] = {}
    for user, item in zip(run.users[users[known]], run.items[items[known]], strict=True):
        leave_out.setdefault(user, []).append(item)
    return leave_out


def _candidates(file: str, run: TrainedRun) -> list[str]:
    from recbole_dtlns.serving.recommendation_file import read_tokens

    known, unknown = run.parted(tokens := read_tokens(file), of_items=True)
    if known and unknown:
        print(f"recbole-dtlns: {_sentence(unknown)} The other {len(known)} are candidates", file=sys.stderr)
    return tokens


def _sentence(said: str) -> str:
    return said if said.endswith("?") else f"{said}."


def _digest(file: str | Path | None) -> str | None:
    """What tells two files apart, for whoever continues with what an interrupted call wrote."""
    if file is None:
        return None
    with Path(file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


COMMAND = Command("write the best items of every user", _run, _add_options, takes_settings=False)
