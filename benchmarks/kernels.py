"""The pieces of a run beside what they replace, side by side in one process: medians of rounds, and their ratio.

Data is made at Sports size unless said otherwise. "RecBole" is RecBole 1.2.1's own class on the same data.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from made_data import SPORTS_SIZE, write_made
from recbole.sampler.sampler import AbstractSampler
from reporting import machine, table, write_results

import recbole_dtlns.compat  # noqa: F401  repairs RecBole
from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.pairs import canonical_train, observed_pairs
from recbole_dtlns.bridge.data.splits import load_splits
from recbole_dtlns.bridge.runner import assemble_run
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.negatives.pools.popularity import PopularityDraws
from recbole_dtlns.negatives.pools.uniform import UniformDraws
from recbole_dtlns.negatives.products import candidate_scores
from recbole_dtlns.negatives.tree_views import TreeView
from recbole_dtlns.numerics.counter_random import counter_uniform
from recbole_dtlns.trees.build import TreeShape, build_tree
from recbole_dtlns.trees.structure import structure_vectors

ROUNDS = 5
ROWS = 2048


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median seconds of both, in turns, after one round that does not count."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for values, work in zip(seconds, (ours, theirs), strict=True):
            started = time.perf_counter()
            work()
            if turn:
                values.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


class Sampling:
    """Drawing for shuffled rows of the train split, in batches, beside RecBole's sampler."""

    def __init__(self, keys: dict[str, Any]) -> None:
        config = DTLNSConfig("BPR", "made", config_dict={**keys, "dtlns_preset": "off"})
        with quiet_recbole():
            whole, parts = load_splits(config)
        self.train, self.parts, self.whole = parts[0], parts, whole
        self.observed = observed_pairs(self.train)
        self.users = self.observed.users[np.random.default_rng(0).permutation(len(self.observed))][:40_000]

    def recbole(self, distribution: str) -> Any:
        from recbole.sampler import Sampler

        return Sampler("train", [self.train], distribution=distribution).set_phase("train")

    def draws(self, pool: Any, n: int) -> Callable[[], None]:
        def work() -> None:
            for start in range(0, len(self.users), ROWS):
                users = self.users[start : start + ROWS]
                pool.draw(users, users, counter_uniform(0, 0, np.arange(start, start + len(users)), n))

        return work

    def theirs(self, sampler: Any, n: int) -> Callable[[], None]:
        def work() -> None:
            for start in range(0, len(self.users), ROWS):
                sampler.sample_by_user_ids(self.users[start : start + ROWS], None, n)

        return work


def sampling_rows(keys: dict[str, Any], size: str) -> list[tuple[str, str, float, float]]:
    data = Sampling(keys)
    n_users, n_items = data.train.user_num, data.train.item_num
    counts = np.bincount(data.observed.items, minlength=n_items)
    uniform = UniformDraws(data.observed, n_users, n_items)
    popular = PopularityDraws(data.observed, n_users, n_items, counts, 1.0)
    found = []
    for n in (1, 10, 64):
        rows = compare(data.draws(uniform, n), data.theirs(data.recbole("uniform"), n), 3 if n > 10 else ROUNDS)
        found.append((f"uniform negatives, n = {n}, {size}", "RecBole's sampler", *rows))
    rows = compare(data.draws(popular, 10), data.theirs(data.recbole("popularity"), 10), 3)
    found.append((f"popularity negatives, n = 10, {size}", "RecBole's sampler", *rows))
    return found


def heavy_rows() -> list[tuple[str, str, float, float]]:
    """Users who have seen most of 2,000 items: exact draws beside rejection, whose time has no bound."""
    found = []
    random = np.random.default_rng(0)
    for percent in (10, 90, 99):
        n_users, n_items = 500, 2001
        seen = random.permuted(np.tile(np.arange(1, n_items), (n_users, 1)), axis=1)[
            :, : percent * (n_items - 1) // 100
        ]
        users = np.repeat(np.arange(n_users), seen.shape[1])
        pool = UniformDraws(PairSet.of(users, seen.ravel()), n_users, n_items)
        used = np.array([set(items.tolist()) for items in seen])
        theirs = Rejection(used, n_items)
        drawn_for = random.integers(0, n_users, ROWS)

        def ours(pool: UniformDraws = pool, drawn_for: np.ndarray = drawn_for) -> None:
            pool.draw(drawn_for, drawn_for, counter_uniform(0, 0, np.arange(ROWS), 10))

        rows = compare(ours, partial(theirs.sample_by_key_ids, drawn_for, 10))
        found.append((f"uniform negatives, n = 10, {percent} % of items seen", "RecBole's rejection", *rows))
    return found


class Rejection(AbstractSampler):
    """RecBole's drawing until nothing drawn was seen, for any sets of seen items."""

    def __init__(self, used: np.ndarray, n_items: int) -> None:
        self.used, self.n_items = used, n_items
        super().__init__("uniform", 1.0)

    def _uni_sampling(self, sample_num: int) -> np.ndarray:
        return np.random.randint(1, self.n_items, sample_num)

    def get_used_ids(self) -> np.ndarray:
        return self.used


def batch_row(keys: dict[str, Any]) -> tuple[str, str, float, float]:
    """The columns of one epoch's batches, without negatives."""
    run = assemble_run(DTLNSConfig("BPR", "made", config_dict={**keys, "dtlns_sampler": "rns", **FREE}))
    loader = run.data.train_loader
    order = np.random.default_rng(0).permutation(len(loader._rows))
    batches = [order[start : start + ROWS] for start in range(0, len(order), ROWS)]
    lists = [batch.tolist() for batch in batches]  # what PyTorch's loader hands over

    def ours() -> None:
        for batch in batches:
            loader.positives_of(batch)

    def theirs() -> None:
        dataset = loader._dataset
        for batch in lists:
            dataset.join(dataset.inter_feat[np.array(batch)])

    return "assembling a batch", "RecBole's Interaction", *compare(ours, theirs)


def scoring_row() -> tuple[str, str, float, float]:
    torch.manual_seed(0)
    n_users, n_items, _ = SPORTS_SIZE
    users, items = torch.randn(n_users, 64), torch.randn(n_items, 64)
    rows, candidates = torch.randint(0, n_users, (ROWS,)), torch.randint(0, n_items, (ROWS, 10))

    def predict() -> torch.Tensor:  # as RecBole's dot-product models do, on the repeated batch
        repeated = rows.repeat_interleave(10)
        return torch.mul(users[repeated], items[candidates.reshape(-1)]).sum(dim=1)

    return (
        "scoring 10 candidates",
        "predict on the repeated batch",
        *compare(
            lambda: [candidate_scores(users[rows], items, candidates) for _ in range(50)],
            lambda: [predict() for _ in range(50)],
        ),
    )


def tree_row(train: Any) -> tuple[str, str, float, float]:
    tree, _ = build_tree(structure_vectors(train, 32), TreeShape())
    view = TreeView(tree, np.arange(train.n_items), "cpu")
    digits = torch.as_tensor(tree.digits)
    lengths = (digits >= 0).sum(dim=1)
    positives = torch.randint(0, train.n_items, (ROWS,))
    candidates = torch.randint(0, train.n_items, (ROWS, 10))

    def padded() -> torch.Tensor:
        first, second = digits[positives][:, None], digits[candidates]
        shared = ((first == second) & (first >= 0)).long().cumprod(dim=2).sum(dim=2)
        return shared / torch.minimum(lengths[positives][:, None], lengths[candidates])

    similarity = compare(
        lambda: [view.similarity(positives[:, None], candidates) for _ in range(50)],
        lambda: [padded() for _ in range(50)],
    )
    return "tree similarity", "comparing padded paths", *similarity


def evaluation_rows(keys: dict[str, Any]) -> list[tuple[str, str, float, float]]:
    """A full ranking of the validation part by LightGCN."""
    found = []
    for batch_size in (4096, 2_000_000):
        settings = {**keys, "eval_batch_size": batch_size, **FREE, "dtlns_sampler": "rns", "n_layers": 2}
        ours = assemble_run(DTLNSConfig("LightGCN", "made", config_dict=settings))
        theirs = assemble_run(
            DTLNSConfig("LightGCN", "made", config_dict={**settings, "dtlns_preset": "off", "dtlns_sampler": "recbole"})
        )
        results: list[Any] = [None, None]

        def evaluate(place: int, run: Any, results: list[Any] = results) -> None:
            run.trainer.model.restore_user_e = None
            with quiet_recbole():
                results[place] = run.trainer.evaluate(run.data.valid_loader, load_best_model=False)

        rounds = 2 if batch_size < 10_000 else ROUNDS
        seconds = compare(partial(evaluate, 0, ours), partial(evaluate, 1, theirs), rounds)
        assert results[0] == results[1], "the metrics are the same to the last digit"
        found.append((f"full-sort evaluation, eval_batch_size {batch_size}", "RecBole's", *seconds))
    return found


FREE = {"dtlns_relabel_add": False, "dtlns_relabel_exclude": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="sampling, more, heavy, batch, scoring, trees or evaluation")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows: list[tuple[str, str, float, float]] = []
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "argv", ["benchmark"]):
        common = {"checkpoint_dir": folder, "dtlns_cache_dir": folder, "state": "ERROR", "show_progress": False}
        keys = {**common, **write_made(Path(folder) / "sports", "made", *SPORTS_SIZE)}
        parts: dict[str, Callable[[], list[Any]]] = {
            "sampling": lambda: sampling_rows(keys, "Sports size"),
            "more": lambda: sampling_rows(
                {**common, **write_made(Path(folder) / "large", "made", 30_000, 20_000, 10**6)}, "1M pairs"
            ),
            "batch": lambda: [batch_row(keys)],
            "scoring": lambda: [scoring_row()],
            "heavy": heavy_rows,
            "trees": lambda: [tree_row(canonical_train(Sampling(keys).train))],
            "evaluation": lambda: evaluation_rows(keys),
        }
        for name, part in parts.items():
            if given.only in ("", name):
                rows += part()
                print(rows[-1], file=sys.stderr)
    lines = [
        [what, against, f"{1e3 * ours:.1f}", f"{1e3 * theirs:.1f}", f"{theirs / ours:.1f}x"]
        for what, against, ours, theirs in rows
    ]
    markdown = table(["what", "against", "ours, ms", "theirs, ms", "faster"], lines)
    if given.only:
        print(markdown)
        return
    results = {"machine": machine(given.threads), "seconds": [list(row) for row in rows]}
    write_results("kernels", results, markdown)


if __name__ == "__main__":
    main()
