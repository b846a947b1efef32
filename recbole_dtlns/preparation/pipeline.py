"""The stages before training, one after the other: from train pairs and a teacher to all that training is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_dtlns.blocks.where import workers_of
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import JudgedPairs
from recbole_dtlns.errors import ArtefactError, DataError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.guidance.relabelling import Relabelling
from recbole_dtlns.judges.contract import Question, Rehearsal, Verdicts
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.preparation.asking import Asking
from recbole_dtlns.preparation.encoding import Encoding
from recbole_dtlns.preparation.growing import StructureVectors
from recbole_dtlns.preparation.judging import Judging
from recbole_dtlns.preparation.rehearsing import Rehearsing
from recbole_dtlns.preparation.relabelling import Relabelled
from recbole_dtlns.preparation.stage import Done, StoreConfig, Workbench
from recbole_dtlns.preparation.teaching import Teaching
from recbole_dtlns.storage.artefact_store import Artefact, KeptArtefacts, cache_folder
from recbole_dtlns.teachers.contract import Candidates, Teacher
from recbole_dtlns.teachers.table import TEACHERS
from recbole_dtlns.trees import build
from recbole_dtlns.trees.item_tree import ItemTree


@dataclass(frozen=True, kw_only=True)
class Preparation(Guidance):
    """What the stages tell training, and what they made it from, in canonical ids.

    Its judged pairs are the candidates with their probabilities; those on which the judge abstained are left out.

    Attributes:
        candidates: the pairs that the judge was asked about.
        verdicts: its answers, one per candidate.
        relabelling: pseudo-positives and forbidden pairs, as the stage made them.
        item_vectors: of the teacher, float32 [n_items, d].
        done: the stages with their results, in the order in which they ran.
    """

    candidates: Candidates
    verdicts: Verdicts
    relabelling: Relabelling
    item_vectors: np.ndarray
    done: tuple[Done, ...]

    @property
    def structure(self) -> ItemTree:
        """The view of which items the same users have."""
        return self.views["structure"]

    @property
    def semantic(self) -> ItemTree:
        """The view of which items the teacher sees as alike."""
        return self.views["semantic"]

    @property
    def artefacts(self) -> dict[str, Artefact]:
        """The stored result of each stage, by the stage's name."""
        return {one.stage.name: one.artefact for one in self.done}

    def summary(self) -> str:
        """The stages in sentences: what each found, and whether it was computed now or reused."""
        head = (
            f"prepared from {self.train.matrix.nnz} train pairs of {self.train.n_users} users and {self.train.n_items} "
            f"items ({self.train.duplicates} duplicate pairs merged)"
        )
        return "\n".join([head, *(one.line() for one in self.done)])


def prepare(
    flat: Mapping[str, Any], train: TrainInteractions, teacher: Teacher, show_progress: bool = False
) -> Preparation:
    """Run the stages, or read them from the store where the same was done before.

    Args:
        flat: values by flat key, without `dtlns_`.
        train: the clean train split in canonical form; the stages look at nothing else.
        teacher: names the candidates and gives the items of the semantic tree their vectors.
        show_progress: whether to show progress bars (only in a terminal).

    Raises:
        DTLNSError: input that a stage cannot use, or a store that cannot be written.
    """
    with workbench(flat, train, show_progress) as bench:
        return prepare_on(bench, flat, train, teacher)


def prepare_on(bench: Workbench, flat: Mapping[str, Any], train: TrainInteractions, teacher: Teacher) -> Preparation:
    """`prepare` on a bench that is set up for it, for methods with stages of their own after these."""
    asking, judging = Asking.from_flat(flat, teacher), Judging.from_flat(flat)
    for read in (*asking.stages(), judging.judge, Encoding.from_flat(flat).encoder):
        read.check_files()
    question, item_vectors = asking.put(bench)
    candidates, verdicts = question.candidates, judging.run(bench, asking, question)
    relabelled = Relabelled.from_flat(flat).run(bench, candidates, verdicts)
    judged = [candidates.users, candidates.items, verdicts.probability]
    sure = ~np.isnan(verdicts.probability)
    if not sure.all():
        judged = [column[sure] for column in judged]
    return Preparation(
        train=train,
        positives=relabelled.positives,
        forbidden=relabelled.forbidden,
        judged=JudgedPairs.of(*judged),
        views=question.views,
        candidates=candidates,
        verdicts=verdicts,
        relabelling=relabelled,
        item_vectors=item_vectors,
        done=tuple(bench.done.values()),
    )


@dataclass(frozen=True)
class Recalled:
    """What was prepared before, looked up.

    Attributes:
        question: as it was put to the judge.
        item_vectors: of the train items by teacher, float32 [n_items, d].
        verdicts, relabelling: None where these are not to be had without asking the judge.
        missing: what is not there, in sentences.
    """

    question: Question
    item_vectors: Mapping[str, np.ndarray]
    verdicts: Verdicts | None
    relabelling: Relabelling | None
    missing: tuple[str, ...] = ()


def recall(flat: Mapping[str, Any], train: TrainInteractions, teacher: Teacher) -> Recalled:
    """What `prepare` kept for the same arguments. Nothing is computed, and no language model is asked.

    Raises:
        ArtefactError: teacher, candidates or trees are no longer there.
    """
    store = StoreConfig.from_flat(flat)
    kept = KeptArtefacts(cache_folder(store.cache_dir), store.refuse_damaged)
    bench = Encoding.from_flat(flat).run(Workbench(train, kept))
    asking, judging = Asking.from_flat(flat, teacher), Judging.from_flat(flat)
    question = asking.run(bench)
    vectors = {
        name.removeprefix("teacher ") if name != "teacher" else str(flat["teacher"]): one.artefact.arrays[
            "item_vectors"
        ]
        for name, one in bench.done.items()
        if "item_vectors" in one.artefact.arrays
    }
    known = judging.judge.known(question) if judging.judge.keeps_verdicts else None
    if judging.judge.keeps_verdicts and known is None:
        why = f"the judge '{flat['judge']}' keeps its verdicts by itself, and has none of these pairs to look up"
        return Recalled(question, vectors, None, None, (why,))
    try:
        verdicts = judging.run(bench, asking, question, known)
        relabelled = Relabelled.from_flat(flat).run(bench, question.candidates, verdicts)
    except ArtefactError as error:
        return Recalled(question, vectors, None, None, (str(error),))
    return Recalled(question, vectors, verdicts, relabelled)


def ask(flat: Mapping[str, Any], train: TrainInteractions, teacher: Teacher, show_progress: bool = False) -> Question:
    """The question that a judge would be put, without any answer; arguments as for `prepare`."""
    with workbench(flat, train, show_progress) as bench:
        return Asking.from_flat(flat, teacher).run(bench)


def judge_question(
    flat: Mapping[str, Any], train: TrainInteractions, teacher: Teacher, show_progress: bool = False
) -> tuple[Question, Verdicts, dict[str, Any]]:
    """Question, verdicts, and what determined these; as `prepare`, but no verdict is kept but by the judge itself."""
    asking, judging = Asking.from_flat(flat, teacher), Judging.from_flat(flat)
    with workbench(flat, train, show_progress) as bench:
        question = asking.run(bench)
        verdicts = judging.ask(question, lambda: judging.rehearsing.run(bench, asking, question))
    return question, verdicts, judging.recipe()


def rehearse(
    flat: Mapping[str, Any],
    train: TrainInteractions,
    teacher: Teacher,
    show_progress: bool = False,
    *,
    seed: int,
    within: bool = False,
) -> Rehearsal | None:
    """The question where the answer is known, for an audit; None where it cannot be put anew.

    Args:
        flat, train, teacher, show_progress: as for `prepare`.
        seed: of what is hidden. Judges learn from what another hides: what they are asked must not be what they learnt.
        within: whether the judges to be audited need a rehearsal of their own.
    """
    asking, own = Asking.from_flat(flat, teacher), Rehearsing.from_flat(flat)
    outer = Rehearsing(own.config.model_copy(update={"seed": seed}))
    with workbench(flat, train, show_progress) as bench:
        return outer.run(bench, asking, asking.run(bench), within=own if within else None)


def keys_read(flat: Mapping[str, Any], teacher: Teacher) -> frozenset[str]:
    """The flat keys, without `dtlns_`, that the stages' results may depend on, where the keys have these values.

    Args:
        flat: values by flat key.
        teacher: that the keys describe; it is not fitted.
    """
    asking = Asking.from_flat(flat, teacher)
    stages = [Encoding.from_flat(flat), *asking.stages(), Judging.from_flat(flat), Relabelled.from_flat(flat)]
    return frozenset(key for stage in stages for key in stage.reads)


def stage_versions(flat: Mapping[str, Any], teacher_recipe: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    """What determines the stages' results beside settings and files: the code's versions, and shipped texts.

    Args:
        flat: values by flat key.
        teacher_recipe: version and inputs of the teacher; of a trained one, so, the configuration as it resolves from
            its model's defaults.
    """
    judge = JUDGES.make(flat["judge"], flat)
    encoder = Encoding.from_flat(flat).encoder
    reads_items = flat["text_fields"] or not encoder.reads_texts
    learnt_from = None if judge.llm in (None, judge) else judge.llm.version
    return {
        "teacher": [Teaching.version, *teacher_recipe],
        "structure": StructureVectors.version,
        "tree": build.VERSION,
        "judge": [judge.version, learnt_from, Prompt.load(flat["judge_prompt"]).digest],
        "relabelling": Relabelled.version,
        **({"text": [Encoding.version, encoder.version]} if reads_items else {}),
    }


@contextmanager
def workbench(flat: Mapping[str, Any], train: TrainInteractions, show_progress: bool = False) -> Iterator[Workbench]:
    """What the stages work on, and where: within the context, by whom the keys say. Arguments as for `prepare`."""
    with workers_of(flat, show_progress):
        _refuse_without_order(flat, train)
        bench = Workbench(train, StoreConfig.from_flat(flat).open(), show_progress and sys.stderr.isatty())
        yield Encoding.from_flat(flat).run(bench)


def _refuse_without_order(flat: Mapping[str, Any], train: TrainInteractions) -> None:
    """Before any stage runs: whoever reads the order of histories needs times."""
    if train.times is not None:
        return
    key = "teachers" if flat["teachers"] else "teacher"
    named = [name for name in flat["teachers"] or [flat["teacher"]] if name in TEACHERS.names()]
    readers = [f"dtlns_{key}: {name}" for name in named if getattr(TEACHERS.get(name), "reads_order", False)]
    if flat["structure_graph"] == "transitions":
        readers.append("dtlns_structure_graph: transitions")
    if flat["judge_reads_order"]:
        readers.append("dtlns_judge_reads_order: True")
    if flat["judge_hide_last"] is True and getattr(JUDGES.get(flat["judge"]), "rehearses", False):
        readers.append("dtlns_judge_hide_last: True")
    if readers:
        raise DataError(
            f"{readers[0]} needs the order of each user's pairs, and the data hold no times: name the TIME_FIELD "
            "(timestamp, if nothing else is said) in load_col, or choose what does without"
        )
