"""What a stage of the preparation is: a step whose result is kept by all that went into it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from recbole_dtlns.components import Component, ComponentConfig
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.errors import DataError
from recbole_dtlns.storage.artefact_store import Arrays, Artefact, ArtefactStore, Facts, cache_folder

logger = logging.getLogger("recbole_dtlns")

Compute = Callable[[], tuple[Arrays, Facts]]


class StoreConfig(ComponentConfig):
    """Where what the stages make is kept; none of it changes a result."""

    prefix = ""

    cache_dir: str | None = None
    """Where prepared artefacts are kept and shared by runs; default $RECBOLE_DTLNS_CACHE, else
    ~/.cache/recbole_dtlns."""
    refuse_damaged: bool = False
    """Stop at a damaged artefact instead of naming it and rebuilding it."""

    def open(self) -> ArtefactStore:
        """The store that these keys describe."""
        return ArtefactStore(cache_folder(self.cache_dir), self.refuse_damaged)


@dataclass(frozen=True)
class Done:
    """A stage that has run.

    Attributes:
        stage: which.
        artefact: its result as it is kept.
    """

    stage: Stage
    artefact: Artefact

    def line(self) -> str:
        """For the summary: computed or reused, and what was found."""
        how = "reused" if self.artefact.reused else "computed"
        return f"  {self.stage.name:<15} {how:<9} {self.stage.sentence(self.artefact.facts)}"


@dataclass(frozen=True)
class Workbench:
    """What all stages of one preparation have in common.

    Attributes:
        train: the train pairs; stages look at nothing else of the data.
        store: where results are kept.
        shows_progress: whether there is somebody to see a bar.
        done: the stages that have run, by name.
    """

    train: TrainInteractions
    store: ArtefactStore
    shows_progress: bool = False
    done: dict[str, Done] = field(default_factory=dict)

    def with_train(self, train: TrainInteractions) -> Workbench:
        """A bench for other train pairs; what is done there is not noted here."""
        return replace(self, train=train, done={})

    @contextmanager
    def bar(self, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        """A progress bar; yields what advances it."""
        with tqdm(total=total, desc=what, unit=unit, disable=not self.shows_progress, leave=False) as bar:
            yield bar.update


class Stage(Component):
    """One step of the preparation. Subclasses have a method `run`, which is given the workbench first.

    What a stage keeps has a line in the summary, so it has a `sentence`; one that keeps nothing has neither.

    Attributes:
        name: of the stage in the summary, and of its folder in the store.
        version: of its code; raised when the same inputs give another result.
    """

    name: str
    version: int

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        """The stage that flat keys describe."""
        return cls(cls.Config.from_flat(flat))

    @property
    def reads(self) -> frozenset[str]:
        """The flat keys, without `dtlns_`, that its result may depend on."""
        return frozenset(type(self).Config.keys())

    def sentence(self, facts: Mapping[str, Any]) -> str:
        """What it found, in words, from the facts that are kept with its result."""
        raise NotImplementedError

    def kept(self, bench: Workbench, inputs: Mapping[str, Any], compute: Compute) -> Artefact:
        """Its result: read from the store, or computed where these inputs are new."""
        artefact = bench.store.get_or_build(self.name.replace(" ", "-"), self.version, inputs, compute)
        bench.done[self.name] = Done(self, artefact)
        logger.debug("%s: %s %s", self.name, "reused" if artefact.reused else "computed", artefact.path)
        return artefact


def text_inputs(train: TrainInteractions, reads_text: bool) -> dict[str, Any]:
    """What a result is kept by where items' texts have a part in it; nothing where they have none."""
    if not reads_text:
        return {}
    content = train.content or ItemContent.silent(train.n_items)
    return {"text": [content.digest, content.vector_digest]}


def order_inputs(train: TrainInteractions, reads_order: bool) -> dict[str, str]:
    """What a result is kept by where the order of each user's pairs has a part in it; nothing where it has none."""
    return {"order": digest_of(train.ages)} if reads_order else {}


def file_digest(file: str, what: str) -> str:
    """SHA-256 of a file's content.

    Raises:
        DataError: it cannot be read; `what` says in the message what it holds.
    """
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read the {what} in {file}: {error.strerror}") from error


def digest_of(*arrays: np.ndarray) -> str:
    """SHA-256 of arrays, their types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
