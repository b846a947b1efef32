"""The stages before training, each kept in the artefact store: teacher, trees, verdicts, relabelling."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from recbole.data.dataset import Dataset
from tqdm import tqdm

from recbole_dtlns.bridge.teacher import make_teacher, teacher_recipe
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Forbidden, JudgedPairs, Observed, PairSet, PseudoPositives
from recbole_dtlns.errors import DataError
from recbole_dtlns.guidance import relabelling
from recbole_dtlns.guidance.relabelling import Relabelling, relabel
from recbole_dtlns.judges.contract import Question, Verdicts
from recbole_dtlns.judges.controls import with_random_paths, with_shuffled_paths
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.preparation.summary import summarise
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.storage.artefact_store import Arrays, Artefact, ArtefactStore, Facts, cache_folder
from recbole_dtlns.teachers.candidate_file import read_candidates
from recbole_dtlns.teachers.contract import Candidates, top_candidates
from recbole_dtlns.trees import build, structure
from recbole_dtlns.trees.build import TreeShape, build_tree, describe
from recbole_dtlns.trees.item_tree import ItemTree

logger = logging.getLogger("recbole_dtlns")

Pairs = TypeVar("Pairs", PairSet, Observed, PseudoPositives, Forbidden, JudgedPairs)

_TEACHER_VERSION = 2  # of reading candidates and item vectors off a fitted teacher


@dataclass(frozen=True)
class Preparation:
    """Everything that training takes from the stages before it, in canonical ids.

    Attributes:
        train: the train pairs that all of it was made from.
        structure, semantic: the item trees.
        candidates: the pairs that the judge was asked about.
        verdicts: its answers, one per candidate.
        relabelling: pseudo-positives and forbidden pairs.
        judged: the candidates with their probabilities; those on which the judge abstained are left out.
        artefacts: the stored result of each stage, by stage.
    """

    train: TrainInteractions
    structure: ItemTree
    semantic: ItemTree
    candidates: Candidates
    verdicts: Verdicts
    relabelling: Relabelling
    judged: JudgedPairs
    artefacts: dict[str, Artefact]

    def summary(self) -> str:
        """The stages in sentences: what each found, and whether it was computed now or reused."""
        return summarise(self.train, self.artefacts)


def prepare(
    settings: DTLNSSettings, train: TrainInteractions, train_dataset: Dataset, show_progress: bool = False
) -> Preparation:
    """Run the stages, or read them from the store where the same was done before.

    Args:
        settings: the run's settings.
        train: the clean train split in canonical form; the stages look at nothing else.
        train_dataset: the same split as RecBole's data set, for the ids of a teacher that was saved with them.
        show_progress: whether to show progress bars (only in a terminal).

    Raises:
        DTLNSError: input that a stage cannot use, or a store that cannot be written.
    """
    stages = _Stages(settings, train, show_progress)
    question = stages.question(train_dataset)
    candidates, verdicts = question.candidates, stages.judge(question)
    relabelled = stages.relabel(candidates, verdicts)
    sure = ~np.isnan(verdicts.probability)
    judged = JudgedPairs.of(candidates.users[sure], candidates.items[sure], verdicts.probability[sure])
    return Preparation(
        train, question.structure, question.semantic, candidates, verdicts, relabelled, judged, stages.artefacts
    )


def ask(
    settings: DTLNSSettings, train: TrainInteractions, train_dataset: Dataset, show_progress: bool = False
) -> Question:
    """The question that a judge would be put, without any answer; arguments as for `prepare`."""
    return _Stages(settings, train, show_progress).question(train_dataset)


def stage_versions(settings: DTLNSSettings) -> dict[str, Any]:
    """What determines the stages' results beside settings and files: the code's versions, and shipped texts.

    Of a trained teacher, too, the configuration as it resolves from its model's defaults.
    """
    judge = JUDGES.get(settings.judge)(settings)
    learnt_from = JUDGES.get(settings.judge_llm)(settings).version if settings.judge == "distilled" else None
    return {
        "teacher": [_TEACHER_VERSION, *teacher_recipe(settings)],
        "structure": structure.VERSION,
        "tree": build.VERSION,
        "judge": [judge.version, learnt_from, Prompt.load(settings.judge_prompt).digest],
        "relabelling": relabelling.VERSION,
    }


class _Stages:
    """One method per stage; each names its inputs, so the store knows when the stage has been done."""

    def __init__(self, settings: DTLNSSettings, train: TrainInteractions, show_progress: bool) -> None:
        self.settings = settings
        self.train = train
        self.store = ArtefactStore(cache_folder(settings.cache_dir), settings.refuse_damaged)
        self.progress = show_progress and sys.stderr.isatty()
        self.artefacts: dict[str, Artefact] = {}
        self.taught_by: dict[str, Any] = {}  # what determines the teacher, once it was asked

    def question(self, train_dataset: Dataset) -> Question:
        """Teacher, candidates and trees: all that a judge may look at.

        It can be put anew unless its teacher or candidates are given from outside and may know all train pairs. Trees
        that may know them are made anew.
        """

        def reask(train: TrainInteractions) -> Question:
            return _Stages(self._settings_anew, train, self.progress).question(train_dataset)

        candidates, vectors = self.teach(train_dataset)
        structure_tree, semantic_tree = self.grow_structure_tree(), self.grow_semantic_tree(vectors)
        fixed = self.settings.teacher == "checkpoint" or self.settings.candidates_file
        if self.settings.candidates_file:
            candidates = self.read_candidates(self.settings.candidates_file)
        question = Question(self.train, candidates, structure_tree, semantic_tree, given=self._given_trees)
        control = {"shuffled": with_shuffled_paths, "random": with_random_paths}.get(self.settings.tree_control)
        asked = question if control is None else control(question, self.settings.seed)
        return asked if fixed else replace(asked, reask=reask)

    @property
    def _given_trees(self) -> tuple[str, ...]:
        paths = {"structure": self.settings.structure_paths, "semantic": self.settings.semantic_paths}
        return tuple(tree for tree, file in paths.items() if file) if self.settings.paths_know_train else ()

    @property
    def _settings_anew(self) -> DTLNSSettings:
        """The settings under which a question is put anew."""
        return self.settings.model_copy(update={f"{tree}_paths": None for tree in self._given_trees})

    def teach(self, train_dataset: Dataset) -> tuple[Candidates, np.ndarray]:
        settings = self.settings
        teacher = make_teacher(settings, train_dataset)

        def compute() -> tuple[Arrays, Facts]:
            fitted = teacher.fit(self.train)
            with self._bar("candidates", self.train.n_users, "user") as advance:
                found = top_candidates(fitted, self.train, settings.candidates, advance)
            counts = np.bincount(found.users, minlength=self.train.n_users)
            facts = {
                "teacher": settings.teacher,
                "candidates": len(found),
                "wanted": settings.candidates,
                "users_with_fewer": int((counts < settings.candidates).sum()),
            }
            return {**vars(found), "item_vectors": fitted.item_vectors}, facts

        inputs = {**teacher.inputs(), "teacher_version": teacher.version, "k": settings.candidates}
        self.taught_by = {"version": _TEACHER_VERSION, **inputs}
        arrays = self._stage("teacher", _TEACHER_VERSION, {"train": self.train.fingerprint, **inputs}, compute).arrays
        vectors = arrays["item_vectors"]
        return Candidates(*(arrays[name] for name in ("users", "items", "ranks", "scores"))), vectors

    def read_candidates(self, file: str) -> Candidates:
        def compute() -> tuple[Arrays, Facts]:
            found, facts = read_candidates(file, self.train)
            return vars(found), {"candidates": len(found), **facts}

        inputs = {"file": _file_digest(file, "candidates"), "train": self.train.fingerprint}
        return Candidates(**self._stage("candidates", 1, inputs, compute).arrays)

    def grow_structure_tree(self) -> ItemTree:
        settings = self.settings
        if settings.structure_paths:
            return self._read_tree("structure tree", settings.structure_paths)

        def compute() -> tuple[Arrays, Facts]:
            vectors = structure.structure_vectors(self.train, settings.structure_dim, **self._graph_bounds)
            alone = int((vectors == 0).all(axis=1).sum())
            return {"vectors": vectors}, {"dimensions": settings.structure_dim, "items_alone": alone}

        inputs = {"train": self.train.fingerprint, "dimensions": settings.structure_dim, **self._graph_bounds}
        stored = self._stage("structure", structure.VERSION, inputs, compute)
        return self._grow_tree("structure tree", stored.arrays["vectors"])

    def grow_semantic_tree(self, vectors: np.ndarray) -> ItemTree:
        if self.settings.semantic_paths:
            return self._read_tree("semantic tree", self.settings.semantic_paths)
        return self._grow_tree("semantic tree", vectors)

    def judge(self, question: Question) -> Verdicts:
        judge = JUDGES.get(self.settings.judge)(self.settings)
        candidates = question.candidates
        # A judge that keeps its own verdicts is asked each time, and its answers make the artefact's key.
        kept = judge.judge(question) if judge.keeps_verdicts else None

        def compute() -> tuple[Arrays, Facts]:
            found = kept or judge.judge(question)
            facts = {
                "judge": self.settings.judge,
                **found.counts(),
                "abstained_because": found.abstained,
                **found.facts,
            }
            return {"probability": found.probability, "label": found.label}, facts

        inputs = {
            **judge.inputs(),
            "judge_version": judge.version,
            "train": self.train.fingerprint,
            "candidates": _digest(candidates.users, candidates.items, candidates.ranks, candidates.scores),
            "trees": _digest(question.structure.digits, question.semantic.digits),
            "answers": _digest(kept.probability, kept.label) if kept else None,
            "anew": self._made_anew_by() if question.reask else None,
        }
        stored = self._stage("verdicts", 1, inputs, compute)
        return Verdicts(stored.arrays["probability"], stored.arrays["label"], dict(stored.facts["abstained_because"]))

    def relabel(self, candidates: Candidates, verdicts: Verdicts) -> Relabelling:
        def compute() -> tuple[Arrays, Facts]:
            found = relabel(candidates, verdicts, self.settings.relabel_top, self.settings.relabel_order)
            arrays = {
                "positive_users": found.positives.users,
                "positive_items": found.positives.items,
                "positive_places": found.positives.place,
                "forbidden_users": found.forbidden.users,
                "forbidden_items": found.forbidden.items,
            }
            return arrays, found.facts()

        inputs = {
            "verdicts": self.artefacts["verdicts"].digest,
            "top": self.settings.relabel_top,
            "order": self.settings.relabel_order,
        }
        arrays = self._stage("relabelling", relabelling.VERSION, inputs, compute).arrays
        return Relabelling(
            PseudoPositives(arrays["positive_users"], arrays["positive_items"], arrays["positive_places"]),
            Forbidden(arrays["forbidden_users"], arrays["forbidden_items"]),
        )

    def _made_anew_by(self) -> dict[str, Any]:
        """What determines a question that is put anew, beside its train pairs and the trees that stay as they are.

        Two runs whose questions are the same may put others where pairs are hidden, and a judge may learn from those.
        """
        return {
            "teacher": self.taught_by,
            "given": self._given_trees,
            "structure": {
                "version": structure.VERSION,
                "dimensions": self.settings.structure_dim,
                **self._graph_bounds,
            },
            "tree": {"version": build.VERSION, "control": self.settings.tree_control, **vars(self._tree_shape)},
        }

    @property
    def _graph_bounds(self) -> dict[str, int]:
        return {"neighbours": self.settings.graph_neighbours, "max_history": self.settings.graph_max_history}

    @property
    def _tree_shape(self) -> TreeShape:
        settings = self.settings
        return TreeShape(
            settings.tree_branching,
            settings.tree_leaf_size,
            settings.tree_balance,
            settings.tree_min_share,
            settings.tree_max_share,
            settings.seed,
        )

    def _grow_tree(self, stage: str, vectors: np.ndarray) -> ItemTree:
        shape = self._tree_shape

        def compute() -> tuple[Arrays, Facts]:
            with self._bar(stage, len(vectors), "item") as advance:
                tree, facts = build_tree(vectors, shape, advance)
            return {"digits": tree.digits}, facts

        inputs = {"vectors": _digest(vectors), **vars(shape)}
        return ItemTree(self._stage(stage, build.VERSION, inputs, compute).arrays["digits"])

    def _read_tree(self, stage: str, file: str) -> ItemTree:
        tokens = self.train.item_tokens.tolist()

        def compute() -> tuple[Arrays, Facts]:
            tree, unknown = ItemTree.from_file(file, tokens)
            if tree.n_leaves == 0:
                raise DataError(
                    f"{file} holds no path for any of the {len(tokens)} train items; are its ids those of the data set?"
                )
            return {"digits": tree.digits}, {**describe(tree), "lines_of_unknown_items": unknown}

        inputs = {"file": _file_digest(file, "tree paths"), "train": self.train.fingerprint}
        return ItemTree(self._stage(stage, 1, inputs, compute).arrays["digits"])

    def _stage(
        self, stage: str, version: int, inputs: dict[str, Any], compute: Callable[[], tuple[Arrays, Facts]]
    ) -> Artefact:
        artefact = self.store.get_or_build(stage.replace(" ", "-"), version, inputs, compute)
        self.artefacts[stage] = artefact
        logger.debug("%s: %s %s", stage, "reused" if artefact.reused else "computed", artefact.path)
        return artefact

    @contextmanager
    def _bar(self, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        with tqdm(total=total, desc=what, unit=unit, disable=not self.progress, leave=False) as bar:
            yield bar.update


def to_recbole_ids(pairs: Pairs, train: TrainInteractions, dataset: Dataset) -> Pairs:
    """The same pairs in the ids of a RecBole data set."""
    users = dataset.token2id(dataset.uid_field, train.user_tokens)
    items = dataset.token2id(dataset.iid_field, train.item_tokens)
    return pairs.mapped(users, items)


def tree_positions(train: TrainInteractions, dataset: Dataset) -> np.ndarray:
    """Canonical id of every item id of a RecBole data set, int64 [n_items]; -1 where it is not a train item."""
    positions = np.full(dataset.item_num, -1, dtype=np.int64)
    positions[dataset.token2id(dataset.iid_field, train.item_tokens)] = np.arange(train.n_items)
    return positions


def _file_digest(file: str, what: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read the {what} in {file}: {error.strerror}") from error


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
