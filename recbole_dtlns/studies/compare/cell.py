"""One run of an experiment, in a process of its own: train, rank once, write what the comparison needs.

`main` reads cell.json in its folder. result.json is written last: a folder that holds it is done.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from filelock import FileLock

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.item_fields import described_train
from recbole_dtlns.bridge.data.pairs import observed_pairs, target_pairs
from recbole_dtlns.bridge.data.run_data import purged_of_evaluation
from recbole_dtlns.bridge.models.capabilities import is_closed_form
from recbole_dtlns.bridge.runner import Run, assemble_run
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.data.item_sets import Forbidden, PairSet
from recbole_dtlns.errors import CheckpointError, DTLNSError
from recbole_dtlns.evaluation.rankings import METRICS, Rankings, Spread, equal_groups
from recbole_dtlns.preparation import prepare
from recbole_dtlns.storage.sealed_json import read_sealed
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.storage.whole_files import remove_leftovers, write_file
from recbole_dtlns.studies.compare.cell_result import (
    EXPLANATION,
    PER_PAIR,
    PER_USER,
    CellResult,
    ItemGroup,
    Seconds,
    is_finished,
    write_result,
)
from recbole_dtlns.studies.compare.experiment import Cell
from recbole_dtlns.studies.compare.explain import explain
from recbole_dtlns.studies.compare.grouped import COUNT, PLACE
from recbole_dtlns.studies.compare.grown import earlier_run
from recbole_dtlns.training.checkpoint import BEST, LAST, Checkpoint

logger = logging.getLogger("recbole_dtlns")

CELL, RUN_FILE, QRELS, FAILURE, LOCK = "cell.json", "run.trec", "qrels.trec", "failure.txt", "running.lock"
AUTHORS = "authors mask: "  # in front of a metric that leaks
_GROUPS = 5


def run_cell(cell: Cell, folder: Path) -> None:
    """Train and evaluate; what an interrupted run left in the folder is continued.

    Args:
        cell: what to run.
        folder: for its files; result.json is written last.

    Raises:
        DTLNSError: the run cannot be done; the message says why.
    """
    keys = {**cell.run_keys, "checkpoint_dir": str(folder / "train"), "show_progress": False}
    interrupted = _interrupted(folder)
    if interrupted is not None:
        keys["resume_from"] = str(interrupted)
    if cell.grown_from is not None:
        keys["init_from"] = str(earlier_run(cell, cell.grown_from, folder / "earlier"))
    began = time.perf_counter()
    run = assemble_run(DTLNSConfig(cell.model, cell.dataset, config_dict=keys))
    prepared = time.perf_counter()
    score, valid = run.fit()
    trained = time.perf_counter()
    masked = _authors_mask(cell, run)
    hidden = run.hidden
    most = max(run.config["topk"])
    loader, part = {
        "validation": (run.data.valid_loader, run.parts[1]),
        "test": (run.data.test_loader, run.parts[2]),
    }[cell.measured]
    rankings = run.trainer.rank(loader, most + _most_per_user(masked) + _most_per_user(hidden))
    kept = rankings.without(hidden, most)
    table = _per_user(run, kept, part)
    if len(masked):
        leaking = _metrics(run, rankings.without(masked.union(hidden), most), part)
        table = table.assign(**{f"{AUTHORS}{name}": values for name, values in leaking.items()})
    write_file(folder / PER_USER, table.to_parquet(index=False), "--output")
    write_file(folder / PER_PAIR, _per_pair(run.parts[0], kept, part).to_parquet(index=False), "--output")
    _write_run_file(folder / RUN_FILE, kept, part, cell.arm)
    _write_qrels(folder / QRELS, part)
    if run.preparation is not None and run.chosen is None:
        explain(run.preparation, run.parts[0], target_pairs(run.parts[1])).write(folder / EXPLANATION)
    curve, best_epoch = run.trainer.curve, _best_epoch(run)
    result = CellResult(
        arm=cell.arm,
        split=cell.split,
        seed=cell.seed,
        digest=cell.digest,
        leaking=run.config.settings.leaking,
        valid_metric=run.config["valid_metric"],
        best_valid_score=float(score) if valid else None,
        valid={name: float(value) for name, value in (valid or {}).items()},
        measured=cell.measured,
        metrics=_means(table, [str(name) for name in table.columns if "@" in str(name)]),
        recovered=_recovered(rankings, run),
        spread=_spread(kept, run.parts[0]),
        item_groups=_item_groups(kept, run.parts[0], part),
        curve=curve,
        best_epoch=best_epoch,
        undertrained=_undertrained(run, best_epoch),
        seconds_per_epoch=median(epoch.seconds for epoch in curve) if curve else None,
        seconds=Seconds(preparation=prepared - began, training=trained - prepared),
        refit=cell.refit,
    )
    write_result(folder, result)
    for unneeded in folder.glob(f"train/*/{LAST}"):  # nothing is left to continue
        unneeded.unlink()


def _interrupted(folder: Path) -> Path | None:
    """The run folder to continue: of the latest checkpoint, unless it, or the best model beside it, is damaged."""
    for run in folder.glob("train/*"):
        for name in (BEST, LAST):
            remove_leftovers(run / name)
    latest = max(folder.glob(f"train/*/{LAST}"), key=lambda file: file.stat().st_mtime, default=None)
    if latest is None:
        return None
    try:
        refit = Checkpoint.read(latest).provenance.refit  # has no best model until it is finished
        if not refit and not (latest.parent / BEST).exists():
            return None
        if not refit:
            Checkpoint.read(latest.parent / BEST)
    except CheckpointError as error:
        logger.warning("%s. This run starts at the beginning", error)
        return None
    return latest.parent


def _authors_mask(cell: Cell, run: Run) -> PairSet:
    """The judge's positives purged of validation and test pairs: what the published evaluation masks. This leaks."""
    nothing = np.array([], dtype=np.int64)
    config = cell.mask_config()
    if config is None:
        return Forbidden.of(nothing, nothing)
    train = described_train(run.parts[0], config.settings.flat)
    teacher = make_teacher(config.settings.flat, run.parts[0])
    positives = prepare(config.settings.flat, train, teacher).relabelling.forbidden
    return purged_of_evaluation(to_recbole_ids(positives, train, run.parts[0]), run.parts[1:])


def _per_user(run: Run, rankings: Rankings, part: DTLNSDataset) -> pd.DataFrame:
    """One row per user of a part: token, number of train pairs, and every metric."""
    train = run.parts[0]
    history = np.bincount(observed_pairs(train).users, minlength=train.user_num)[rankings.users]
    tokens = train.id2token(train.uid_field, rankings.users)
    return pd.DataFrame({"user_id": tokens, "history": history, **_metrics(run, rankings, part)})


def _per_pair(train: DTLNSDataset, rankings: Rankings, part: DTLNSDataset) -> pd.DataFrame:
    """One row per pair to be found: tokens, train pairs of the item, and its place in the list; 0 where it is not."""
    truth = observed_pairs(part)
    counts = np.bincount(observed_pairs(train).items, minlength=train.item_num)[truth.items]
    users, items = train.id2token(train.uid_field, truth.users), train.id2token(train.iid_field, truth.items)
    return pd.DataFrame({"user_id": users, "item_id": items, COUNT: counts, PLACE: rankings.places(truth)})


def _metrics(run: Run, rankings: Rankings, part: DTLNSDataset) -> dict[str, np.ndarray]:
    names = [name for name in run.config["metrics"] if name.lower() in METRICS]
    return rankings.metrics(target_pairs(part), names, run.config["topk"])


def _means(table: pd.DataFrame, names: list[str]) -> dict[str, float]:
    return {name: float(table[name].mean()) for name in names}


def _recovered(rankings: Rankings, run: Run) -> float | None:
    """Share of the hidden train positives of test users that are in their lists, before these are masked."""
    mine = np.isin(run.hidden.users, rankings.users)
    if not mine.any():
        return None
    most = max(run.config["topk"])
    shown = Rankings(rankings.users, rankings.items[:, :most], rankings.scores[:, :most])
    return float(shown.found(run.hidden.where(mine)).mean())


def _spread(rankings: Rankings, train: DTLNSDataset) -> Spread:
    counts = np.bincount(observed_pairs(train).items, minlength=train.item_num)
    return Spread.of(rankings, counts, np.arange(1, train.item_num))


def _item_groups(rankings: Rankings, train: DTLNSDataset, part: DTLNSDataset) -> list[ItemGroup]:
    """Share of a part's pairs that are recommended, by how often the item occurs in train."""
    truth = target_pairs(part)
    counts = np.bincount(observed_pairs(train).items, minlength=train.item_num)[truth.items]
    found = rankings.found(truth)
    groups = equal_groups(counts, _GROUPS)
    return [
        ItemGroup(
            least=int(counts[groups == group].min()),
            most=int(counts[groups == group].max()),
            pairs=int((groups == group).sum()),
            found=float(found[groups == group].mean()),
        )
        for group in np.unique(groups)
    ]


def _best_epoch(run: Run) -> int | None:
    """The epoch that validation chose: of equal ones the last, as RecBole has it."""
    if not any(epoch.valid for epoch in run.trainer.curve):
        return None
    return Checkpoint.read(run.folder / BEST).epoch


def _undertrained(run: Run, best_epoch: int | None) -> bool:
    """Whether the best evaluation was the last that the epochs allowed, so that more of them might be better yet.

    Stopping early leaves worse evaluations behind the best. Closed-form models have no more than one pass.
    """
    if best_epoch is None or is_closed_form(run.config):
        return False
    return best_epoch == max(epoch.epoch for epoch in run.trainer.curve if epoch.valid)


def _most_per_user(pairs: PairSet) -> int:
    return int(np.bincount(pairs.users).max(initial=0)) if len(pairs) else 0


def _write_run_file(path: Path, rankings: Rankings, part: DTLNSDataset, tag: str) -> None:
    """TREC's format: user Q0 item rank score tag. Scores fall with the rank, so readers that sort keep the order."""
    users = part.id2token(part.uid_field, rankings.users)
    items = part.id2token(part.iid_field, np.maximum(rankings.items, 0))
    label = "-".join(tag.split())
    lines = []
    for row, user in enumerate(users):
        depth = int((rankings.items[row] >= 0).sum())
        lines += [f"{user} Q0 {items[row, place]} {place + 1} {depth - place} {label}" for place in range(depth)]
    write_file(path, "\n".join([*lines, ""]), "--output")


def _write_qrels(path: Path, part: DTLNSDataset) -> None:
    truth = target_pairs(part)
    users, items = part.id2token(part.uid_field, truth.users), part.id2token(part.iid_field, truth.items)
    lines = [f"{user} 0 {item} 1\n" for user, item in zip(users, items, strict=True)]
    write_file(path, "".join(lines), "--output")


def main(at: str) -> int:
    """Run the cell of a folder, unless it is finished; 2 for an error that its failure.txt explains."""
    folder = Path(at).resolve()
    # The lock belongs to the process that works here: one that outlives its comparison keeps the next one waiting.
    with FileLock(folder / LOCK), contextlib.chdir(folder):  # RecBole writes log/ and log_tensorboard/ where it is
        try:
            cell = read_as(Cell, read_sealed(folder / CELL), folder / CELL)
            if is_finished(folder, cell.digest):  # another comparison was at it
                return 0
            run_cell(cell, folder)
        except DTLNSError as error:
            write_file(folder / FAILURE, str(error), "--output")
            return 2
    return 0
