"""What every method must hold to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from recbole_dtlns.conformance.blocks import block_interactions, block_texts
from recbole_dtlns.conformance.plain_copy import plain_copy
from recbole_dtlns.conformance.rules import require, require_plain
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemContent
from recbole_dtlns.data.item_sets import JudgedPairs, PairSet
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods.contract import Method, Task
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.teachers.closed_form import EASE
from recbole_dtlns.trees.item_tree import ItemTree

MakeMethod = Callable[[], Method]


def guides_by_pairs_that_nobody_observed(make: MakeMethod) -> None:
    """Positives, forbidden and judged pairs are unobserved pairs of the train users and items, each once, in order."""
    for task, guidance in _guided(make):
        sets: dict[str, PairSet | JudgedPairs] = {
            "positives": guidance.positives,
            "forbidden": guidance.forbidden,
            "judged": guidance.judged,
        }
        for name, pairs in sets.items():
            users, items, train = pairs.users, pairs.items, task.train
            require(users.dtype == items.dtype == np.int64, f"'{name}' holds ids of {users.dtype} and {items.dtype}")
            inside = (users >= 0) & (users < train.n_users) & (items >= 0) & (items < train.n_items)
            require(bool(inside.all()), f"'{name}' holds ids that no train user or item has")
            keys = users * train.n_items + items
            require(bool((keys[1:] > keys[:-1]).all()), f"'{name}' is not ordered by user and item, or repeats a pair")
            of_user, observed = train.histories()
            seen = np.isin(keys, of_user * train.n_items + observed)
            require(not seen.any(), f"'{name}' holds a pair that was observed in train")


def weights_and_probabilities_are_what_they_are_called(make: MakeMethod) -> None:
    """Weights are finite and above 0, places count from 0, probabilities lie in [0, 1], one for each pair."""
    for _, guidance in _guided(make):
        positives, judged = guidance.positives, guidance.judged
        lengths = {len(positives), len(positives.place), len(positives.weight)}
        require(len(lengths) == 1, f"positives have {lengths} users, places and weights")
        require(bool(np.isfinite(positives.weight).all() and (positives.weight > 0).all()), "a weight is none above 0")
        require(bool((positives.place >= 0).all()), "a place is below 0")
        require(len(judged.probability) == len(judged), "not every judged pair has a probability")
        inside = (judged.probability >= 0) & (judged.probability <= 1)
        require(bool(inside.all()), "a probability is NaN, or outside [0, 1]")


def views_and_vectors_are_of_the_train_items(make: MakeMethod) -> None:
    """Every view is a tree with a row for each train item; vectors are finite floats [n_items, d]."""
    for task, guidance in _guided(make):
        items = task.train.n_items
        for name, tree in guidance.views.items():
            require(isinstance(tree, ItemTree), f"the view '{name}' is a {type(tree).__name__}, not an ItemTree")
            require(tree.n_items == items, f"the view '{name}' is of {tree.n_items} items, not of the {items} in train")
        vectors = guidance.vectors
        if vectors is not None:
            require(vectors.ndim == 2 and len(vectors) == items, f"vectors have the shape {vectors.shape}")
            require(vectors.dtype.kind == "f" and bool(np.isfinite(vectors).all()), "vectors are not finite floats")
        require(isinstance(guidance.summary(), str), "the summary is no text")


def generated_negatives_are_of_the_train_pairs(make: MakeMethod) -> None:
    """Each is a finite vector of one length; pairs that were not observed, and users that are none, have none."""
    for task, guidance in _guided(make):
        generated, train = guidance.generated, task.train
        if generated is None:
            continue
        require(generated.problem() == "", f"generated negatives have {generated.problem()}")
        require(generated.train.fingerprint == train.fingerprint, "negatives were generated for other train pairs")
        users, items = train.histories()
        for uniform in (0.0, 0.5, 1 - 2**-24):
            vectors, known = generated.of(users, items, np.full(len(users), uniform))
            require(vectors.shape == (len(users), generated.dimension), f"vectors have the shape {vectors.shape}")
            require(vectors.dtype == np.float32 and bool(np.isfinite(vectors).all()), "vectors are not finite float32")
            require(not vectors[~known].any(), "a pair without a negative has a vector")
        _, known = generated.of(np.array([-1, 0]), np.array([0, -1]), np.zeros(2))
        require(not known.any(), "somebody who is not in train has a generated negative")


def the_same_task_has_the_same_guidance(make: MakeMethod) -> None:
    """Made twice, and read from the store where it keeps one, it is the same to the last bit."""
    first, second = (_content(guidance) for _, guidance in _guided(make, times=2))
    require(first == second, "the guidance that was kept is not the one that was made")
    (anew,) = (_content(guidance) for _, guidance in _guided(make))
    require(first == anew, "the same task was guided differently")


def leaves_the_train_pairs_alone(make: MakeMethod) -> None:
    """Nothing of the train pairs is written to, and the guidance names them."""
    before = plain_copy(_train())
    for task, guidance in _guided(make):
        require(plain_copy(task.train) == before, "the train pairs were written to")
        require(guidance.train.fingerprint == task.train.fingerprint, "the guidance is of other train pairs")


def says_what_it_depends_on(make: MakeMethod) -> None:
    """The keys that it reads are keys of the run, and what tells its versions apart is plain data."""
    with _task() as task:
        method, teacher = make(), task.teacher
        read = method.keys_read(task.flat, teacher)
        own = type(method).Config.keys(task.flat["method"])
        unknown = sorted(read - set(task.flat) - set(own))
        require(not unknown, f"it says that it reads keys that do not exist: {', '.join(unknown)}")
        require_plain(method.versions(task.flat, (teacher.version, teacher.inputs())), "versions")


METHOD_CHECKS: tuple[Callable[[MakeMethod], None], ...] = (
    guides_by_pairs_that_nobody_observed,
    weights_and_probabilities_are_what_they_are_called,
    views_and_vectors_are_of_the_train_items,
    generated_negatives_are_of_the_train_pairs,
    the_same_task_has_the_same_guidance,
    leaves_the_train_pairs_alone,
    says_what_it_depends_on,
)


def _train() -> TrainInteractions:
    train = block_interactions(blocks=4, users=12, items=20, missing=4)
    return replace(train, content=ItemContent(block_texts(train.item_tokens)))


@contextmanager
def _task() -> Iterator[Task]:
    """The block data with the default settings of a run, whose store is empty and goes with the check."""
    with TemporaryDirectory(prefix="recbole_dtlns-conformance-") as folder:
        settings = DTLNSSettings.from_config({"dtlns_cache_dir": folder})
        yield Task(_train(), settings.flat, EASE(reg=10.0, dimension=8))


def _guided(make: MakeMethod, times: int = 1) -> Iterator[tuple[Task, Guidance]]:
    """The task and its guidance, made anew and then some times more; an empty method gives empty guidance."""
    with _task() as task:
        for _ in range(times):
            yield task, make().guide(task)


def _content(guidance: Guidance) -> Any:
    return plain_copy({field.name: getattr(guidance, field.name) for field in fields(Guidance)})
