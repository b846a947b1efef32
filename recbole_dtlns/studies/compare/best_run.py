"""The run folder behind a comparison's best arm, for whoever wants to use the model."""

from __future__ import annotations

from pathlib import Path

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.studies.compare.cell_result import RESULT, read_result
from recbole_dtlns.studies.compare.comparison import Comparison, Row
from recbole_dtlns.training.checkpoint import BEST


def best_run(found: Comparison) -> tuple[Row, Path]:
    """The arm with the most on validation, by the mean over seeds, and the run folder of its first seed.

    Args:
        found: a comparison whose `valid_metric` is one of which more is better.

    Raises:
        ArtefactError: no arm was measured on validation, or the folder is gone.
    """
    rows = [row for row in found.rows if row.valid.mean is not None and not row.leaking]
    if not rows:
        raise ArtefactError(f"no arm of {found.folder} was measured on validation")
    best = max(rows, key=lambda row: row.valid.known)
    for result in found.folder.glob(f"cells/*/{RESULT}"):
        cell = read_result(result.parent)
        if cell.refit is None and (cell.arm, cell.split, cell.seed) == (best.arm, best.split, best.seeds[0]):
            models = sorted(result.parent.glob(f"train/*/{BEST}"), key=lambda file: file.stat().st_mtime)
            if models:
                return best, models[-1].parent
    raise ArtefactError(f"the runs of {best.arm} are no longer in {found.folder / 'cells'}")
