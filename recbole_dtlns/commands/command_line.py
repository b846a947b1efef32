"""The console command `recbole-dtlns`, and what `run_recbole_dtlns.py` runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_dtlns import __version__, compat
from recbole_dtlns.commands.doctor import report
from recbole_dtlns.errors import ConfigError, DTLNSError

if TYPE_CHECKING:
    from recbole_dtlns.studies.compare.results import Comparison

AUDITED = "always,random,rank,structural,calibrated"
CONTROLLED = ("structural", "calibrated")  # on shuffled and random paths too: they cost nothing
_RUN_OPTIONS = """RecBole's flags, one per setting: --key=value
  --model=NAME            RecBole general recommender or package.module:Class
  --dataset=NAME          data set under data_path; RecBole ships ml-100k
  --config_files='A B'    yaml files, separated by spaces
  --KEY=VALUE             any RecBole or dtlns_ key, such as --epochs=50 --dtlns_alpha_co=0.2"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (2 for an error that the user can mend, 1 if `doctor` found problems)."""
    parser = argparse.ArgumentParser(
        prog="recbole-dtlns", description="Train RecBole recommenders with DTL-NS.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"recbole-dtlns {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in (
        ("train", "prepare, train and evaluate one model"),
        ("prepare", "run the stages before training, print their summary and stop"),
        ("judge", "ask the judge about every candidate, write the labels and stop"),
        ("export", "write the requests that an LLM has not answered yet, for any batch service"),
        ("audit", "score judges on train positives hidden on purpose"),
        ("tune", "search for settings with Ray Tune, and evaluate the best on test once"),
        ("compare", "run an experiment of several arms and seeds, and test what they differ in"),
    ):
        command = commands.add_parser(
            name,
            help=purpose,
            description=purpose,
            epilog=_RUN_OPTIONS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument("--model", default=None, help=argparse.SUPPRESS)
        command.add_argument("--dataset", default=None, help=argparse.SUPPRESS)
        command.add_argument("--config_files", default="", help=argparse.SUPPRESS)
        if name == "judge":
            command.add_argument("--output", default="labels.tsv", help="file for the labels, .tsv or .parquet")
            command.add_argument("--dry-run", action="store_true", help="only say what asking an LLM would cost")
            command.add_argument("--probe", type=int, help="with --dry-run: requests to ask for real, for the speed")
        if name == "export":
            command.add_argument("--output", default="requests.jsonl", help="file for the requests")
        if name == "audit":
            command.add_argument("--judges", default=AUDITED, help=f"judges, separated by commas (default {AUDITED})")
            command.add_argument("--controls", help="those of them to ask again with shuffled and random paths")
            command.add_argument("--output", default="audit.json", help="file for the scores; .html beside it")
        if name == "tune":
            _add_tune_options(command)
        if name == "compare":
            command.add_argument("experiment", help="a yaml file, or a shipped experiment; 'list' names these")
            command.add_argument("--output", help="folder of the comparison (default compare_runs/NAME-DATASET)")
            command.add_argument("--jobs", type=int, help="runs at once (default: one per core; with a GPU, one)")
    page = commands.add_parser("report", help="one HTML page of finished comparisons, which opens offline")
    page.add_argument("folders", nargs="+", metavar="FOLDER", help="of a comparison")
    page.add_argument("--output", help="file (default report.html in the first folder)")
    _add_convert(commands)
    commands.add_parser("doctor", help="print versions, devices and what is missing")
    demo = commands.add_parser("demo", help="compare plain RecBole with DTL-NS on ml-100k (5 to 10 minutes)")
    demo.add_argument("--output", default="demo_runs", help="folder for runs, log and table (default demo_runs)")
    given, rest = parser.parse_known_args(arguments)
    try:
        _check_working_folder()
        return _run(given, rest)
    except DTLNSError as error:
        print(f"recbole-dtlns: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("recbole-dtlns: interrupted; what was computed is kept", file=sys.stderr)
        return 130


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    purpose = "write a table of interactions, such as a .csv file, as a data set that RecBole reads"
    command = commands.add_parser("convert", help=purpose, description=purpose, allow_abbrev=False)
    command.add_argument("table", help="a file whose first line names its columns")
    command.add_argument("--user", required=True, metavar="COLUMN", help="its column of users")
    command.add_argument("--item", required=True, metavar="COLUMN", help="its column of items")
    command.add_argument("--time", metavar="COLUMN", help="its column of times: numbers or dates")
    command.add_argument("--rating", metavar="COLUMN", help="its column of ratings")
    command.add_argument("--min-rating", type=float, help="leave out rows rated below")
    command.add_argument("--date-format", help="of the times, as in %%d/%%m/%%Y, where it is not plain")
    command.add_argument("--encoding", help="of the file (default: UTF-8, UTF-16 or cp1252, whichever reads it)")
    command.add_argument("--output", required=True, help="folder of the data set, as in dataset/shop")


def _check_working_folder() -> None:
    """RecBole and Ray, and every relative path, need one; a shell can stand in a folder that was deleted."""
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working folder cannot be used ({error.strerror}; was it deleted?): change to another one with cd"
        ) from None


def _add_tune_options(command: argparse.ArgumentParser) -> None:
    # The defaults named here are those of `Plan`, which is not imported where RecBole may be missing.
    command.add_argument("--space", help="what is searched: a yaml file, or RecBole's .test lines")
    command.add_argument("--resume", metavar="FOLDER", help="go on with an interrupted search; all else is as it was")
    command.add_argument("--samples", type=int, help="trials (grid: times through the grid) (default 20)")
    command.add_argument("--search", help="random, grid, optuna or hyperopt (default random)")
    command.add_argument("--scheduler", help="asha, median or none: stops bad trials (default asha)")
    command.add_argument("--grace", type=int, help="evaluations before a trial may be stopped (default 10)")
    command.add_argument("--concurrent", type=int, help="trials at once at most (default: as many as have room)")
    command.add_argument("--cpus", type=float, help="CPUs of a trial (default 1)")
    command.add_argument("--gpus", type=float, help="GPUs of a trial; 0.5 lets two share one (default 0)")
    command.add_argument("--storage", default="tune_runs", help="folder of searches; all nodes share it (tune_runs)")
    command.add_argument("--name", help="of this search's folder (default MODEL-DATASET)")
    command.add_argument("--address", help="of a Ray cluster (default: this machine)")
    command.add_argument("--search-seed", dest="seed", type=int, help="of the search, not of the runs (default 42)")


def _tune(given: argparse.Namespace, run: tuple[str | None, str | None, list[str]], rest: list[str]) -> None:
    from recbole_dtlns.studies.tune.search import resume_tune, tune

    if given.resume:
        if rest or given.space or any(run):
            raise ConfigError("--resume goes on with a search as it was: give its folder, and nothing else")
        found = resume_tune(given.resume, given.address)
    elif not given.space:
        raise ConfigError("tune needs --space=FILE, or --resume=FOLDER")
    else:
        names = ("samples", "search", "scheduler", "grace", "concurrent", "cpus", "gpus", "seed")
        options = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
        found = tune(
            *run,
            space=given.space,
            storage=given.storage,
            name=given.name,
            address=given.address,
            arguments=rest,
            **options,
        )
    print(found.text())


def _compare(given: argparse.Namespace, run: tuple[str | None, str | None, list[str]], rest: list[str]) -> None:
    from recbole_dtlns.studies.compare.compare import compare
    from recbole_dtlns.studies.compare.experiment_file import shipped_experiments

    if given.experiment == "list":
        print("\n".join(f"{name:<12} {about}" for name, about in shipped_experiments().items()))
        return
    found = compare(given.experiment, *run, output=given.output, jobs=given.jobs, arguments=rest)
    _show(found)


def _show(found: Comparison) -> None:
    from recbole_dtlns.reports.comparison import write_report

    print(f"\n{found.text()}\n\nfiles: {found.folder}\nreport: {write_report([found.folder])}")


def _run(given: argparse.Namespace, rest: list[str]) -> int:
    if given.command in ("doctor", "demo", "report", "convert") and rest:
        raise ConfigError(f"{given.command} does not take {' '.join(rest)}")
    if given.command == "doctor":
        found = report()
        print(found.text)
        return 1 if found.problems else 0
    if given.command == "convert":
        from recbole_dtlns.commands.convert import convert

        options = {name: value for name, value in vars(given).items() if name != "command"}
        print(convert(**options).text())
        return 0
    compat.require_recbole()
    # Imported only now, so that `doctor` and the message above work where RecBole is missing.
    from recbole_dtlns.bridge.runner import prepare_only, run_recbole_dtlns
    from recbole_dtlns.studies import judging

    if given.command == "demo":
        from recbole_dtlns.studies.compare.compare import compare

        _show(compare("demo", output=given.output))
        return 0
    if given.command == "report":
        from recbole_dtlns.reports.comparison import write_report

        print(f"report: {write_report(given.folders, given.output)}")
        return 0
    run = (given.model, given.dataset, given.config_files.split())
    if given.command == "compare":
        _compare(given, run, rest)
    elif given.command == "train":
        print(_result_table(run_recbole_dtlns(*run, arguments=rest)))
    elif given.command == "prepare":
        if prepare_only(*run, arguments=rest) is None:
            print("these settings ask for no preparation: DTL-NS is off")
    elif given.command == "judge" and given.dry_run:
        print(judging.estimate_judging(*run, probe=given.probe, arguments=rest).text())
    elif given.command == "judge":
        judged = judging.judge_candidates(*run, arguments=rest)
        judged.write(given.output)
        print(f"{judged.verdicts.counts()}; labels in {given.output}, label card in {given.output}.md")
    elif given.command == "export":
        count = judging.export_requests(given.output, *run, arguments=rest)
        print(
            f"{count} requests in {given.output}; read the replies with --dtlns_judge=recorded --dtlns_judge_labels=..."
        )
    elif given.command == "tune":
        _tune(given, run, rest)
    else:
        _audit(given, run, rest)
    return 0


def _result_table(result: dict[str, Any]) -> str:
    """The metrics, a line each; every line of a leaking run says so, that none can be taken for a result."""
    valid, test = result["best_valid_result"] or {}, result["test_result"] or {}
    mark = "LEAKING" if result["leaking"] else ""
    rows = [("metric", "valid", "test"), *((name, str(valid.get(name, "-")), str(test[name])) for name in test)]
    lines = [f"{name:<20} {on_valid:<8} {on_test:<8} {mark}".rstrip() for name, on_valid, on_test in rows]
    return "\n".join([*lines, f"run folder: {result['run_folder']}"])


def _audit(given: argparse.Namespace, run: tuple[str | None, str | None, list[str]], rest: list[str]) -> None:
    from recbole_dtlns.bridge.runner import write_file
    from recbole_dtlns.reports.audit import audit_page
    from recbole_dtlns.studies.judging import audit_judges

    judges = given.judges.split(",")
    controls = [name for name in judges if name in CONTROLLED]
    if given.controls is not None:
        controls = [name for name in given.controls.split(",") if name]
    scores = audit_judges(judges, *run, controls=controls, arguments=rest)
    output = Path(given.output)
    write_file(output, json.dumps(scores.plain(), indent=2))
    write_file(output.with_suffix(".html"), audit_page(scores))
    print(f"{scores.table()}\npicture: {output.with_suffix('.html')}")


if __name__ == "__main__":
    sys.exit(main())
