"""What a finished cell wrote. result.json comes last and holds a checksum of itself and of the files read with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.evaluation.rankings import Spread
from recbole_dtlns.storage.sealed_json import read_sealed, sealed
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.training.checkpoint import Epoch

RESULT, EXPLANATION = "result.json", "explanation.json"
PER_USER, PER_PAIR = "per_user.parquet", "per_pair.parquet"
Part = Literal["test", "validation"]  # of the data, that is ranked
_FILES = "files"


@dataclass(frozen=True)
class ItemGroup:
    """Pairs to be found, of items that occur about equally often in train.

    Attributes:
        least, most: train pairs of their items.
        pairs: how many there are.
        found: the share of them that is recommended.
    """

    least: int
    most: int
    pairs: int
    found: float


@dataclass(frozen=True)
class Seconds:
    """That the stages of a run took."""

    preparation: float
    training: float


@dataclass(frozen=True)
class CellResult:
    """What came out of one run.

    Attributes:
        arm, split, seed: which.
        digest: of all that it depends on.
        leaking: whether its own evaluation leaks.
        valid_metric, best_valid_score: what chose the epoch, and its best value; None without validation.
        valid: every metric of that epoch on validation.
        measured: the part of the data that was ranked.
        metrics: mean over its users, by name; those under the leaking mask too.
        recovered: share of the train pairs hidden on purpose that are recommended; None where none were hidden.
        spread: of the recommendations over the catalogue.
        item_groups: from rare to popular.
        curve: the epochs.
        best_epoch: None without validation.
        undertrained: whether the best epoch was the last allowed.
        seconds_per_epoch: the median; None where there was none.
        seconds: by stage.
        refit: epochs of a refit on train and validation; None of a run on train alone.
    """

    arm: str
    split: str
    seed: int
    digest: str
    leaking: bool
    valid_metric: str
    best_valid_score: float | None
    valid: dict[str, float]
    measured: Part
    metrics: dict[str, float]
    recovered: float | None
    spread: Spread
    item_groups: list[ItemGroup]
    curve: list[Epoch]
    best_epoch: int | None
    undertrained: bool
    seconds_per_epoch: float | None
    seconds: Seconds
    refit: int | None = None

    def plain(self) -> dict[str, Any]:
        """As result.json holds it: the metrics stand under the name of the part they were measured on."""
        content = plain_data(vars(self))
        metrics, part = content.pop("metrics"), content.pop("measured")
        return {**content, part: metrics}

    @classmethod
    def of_plain(cls, content: dict[str, Any], file: Path) -> CellResult:
        """Undo `plain`.

        Raises:
            ArtefactError: something is missing, or of another type.
        """
        measured = "validation" if "validation" in content else "test"
        return read_as(cls, {**content, "measured": measured, "metrics": content.get(measured)}, file)


def plain_data(value: Any) -> Any:
    """Dataclasses, tuples and mappings as plain data, down to the last."""
    if isinstance(value, Epoch):
        return value.plain()
    if isinstance(value, dict):
        return {key: plain_data(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(entry) for entry in value]
    return plain_data(vars(value)) if is_dataclass(value) else value


def write_result(folder: Path, result: CellResult) -> None:
    """Write result.json for a cell whose other files are written: with it the cell is finished."""
    files = (PER_USER, PER_PAIR, EXPLANATION)
    digests = {name: _digest(folder / name) for name in files if (folder / name).exists()}
    write_file(folder / RESULT, sealed({**result.plain(), _FILES: digests}), "--output")


def read_result(folder: Path, digest: str | None = None) -> CellResult:
    """The content of a finished cell's result.json.

    Args:
        folder: of the cell.
        digest: of the cell whose result it should be; None for whichever it is.

    Raises:
        ArtefactError: it is missing or damaged, a file that it names is, or they are of another cell; the message says
            which.
    """
    content = read_sealed(folder / RESULT)
    if digest is not None and content.get("digest") != digest:
        raise ArtefactError(f"{folder / RESULT} is the result of another run, copied here")
    for name, written in content.pop(_FILES, {}).items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise ArtefactError(f"cannot read {folder / name} ({error.strerror})") from error
        if found != written:
            raise ArtefactError(f"{folder / name} is damaged or was edited (it does not match its checksum)")
    return CellResult.of_plain(content, folder / RESULT)


def is_finished(folder: Path, digest: str | None = None) -> bool:
    """Whether a cell (that of the digest, if one is given) wrote its result here, and it is undamaged."""
    try:
        read_result(folder, digest)
    except ArtefactError:
        return False
    return True


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
