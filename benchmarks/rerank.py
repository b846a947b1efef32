"""A student that retrieves, and its judge that re-ranks: what the first hundred are worth in the judge's order.

    python benchmarks/rerank.py [--sports FOLDER] [--model BPR] [--dimensions 64]

Trains the preset `best` on the published Sports data, chooses the epoch on validation, and takes every test user's
first hundred items: in the model's order, in the judge's (what it did not judge stays behind, in the model's), and by
the mean of the two places. The judge alone stands beside them. What each must hold to serve is given in MiB: vectors of
single precision, and for the judge a probability and an item for every judged pair.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace

import numpy as np
import torch
from reporting import machine, table, write_results
from sports_question import add_argument

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.pairs import observed_pairs
from recbole_dtlns.bridge.runner import Run, assemble_run
from recbole_dtlns.data.item_sets import JudgedPairs
from recbole_dtlns.evaluation.rankings import Rankings

RETRIEVED, SHOWN = 100, 20


def reordered(rankings: Rankings, score: np.ndarray) -> Rankings:
    """The same items, by another score [U, depth], the highest first; equal ones stay as they are."""
    order = np.argsort(-score, axis=1, kind="stable")
    items = np.take_along_axis(rankings.items, order, axis=1)
    return replace(rankings, items=items, scores=np.take_along_axis(score, order, axis=1).astype(np.float32))


def probability_of(rankings: Rankings, judged: JudgedPairs, n_items: int) -> np.ndarray:
    """The judge's probability of every listed pair [U, depth]; 0 where it did not judge."""
    keys = judged.users * n_items + judged.items  # ascending, as the pairs are
    asked = rankings.users[:, None] * n_items + rankings.items
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, judged.probability[place], 0.0)


def by_both(probability: np.ndarray) -> np.ndarray:
    """Minus the mean of an item's place by the model and by the judge [U, depth]."""
    by_judge = np.argsort(np.argsort(-probability, axis=1, kind="stable"), axis=1, kind="stable")
    return -(np.arange(probability.shape[1])[None, :] + by_judge) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_argument(parser)
    parser.add_argument("--model", default="BPR")
    parser.add_argument("--dimensions", type=int, default=64)
    given = parser.parse_args()
    folder = given.sports.resolve()
    keys = {
        "data_path": str(folder.parent),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "embedding_size": given.dimensions,
        **{"metrics": ["Recall", "NDCG"], "topk": [SHOWN], "valid_metric": f"Recall@{SHOWN}"},
        **{"eval_step": 5, "stopping_step": 6, "eval_batch_size": 4_000_000, "dtlns_preset": "best"},
    }
    with tempfile.TemporaryDirectory() as runs:
        run = assemble_run(DTLNSConfig(given.model, folder.name, config_dict={**keys, "checkpoint_dir": runs}))
        run.trainer.fit(run.data.train_loader, run.data.valid_loader)
        model = run.trainer.rank(run.data.test_loader, RETRIEVED)
        council = _council(folder.name, {**keys, "checkpoint_dir": runs})
    rows, results = [], {}
    judged = _judged(run)
    probability = probability_of(model, judged, run.parts[0].item_num)
    vectors = 4 * given.dimensions * (run.parts[0].user_num + run.parts[0].item_num) / 2**20
    pairs = 8 * len(judged) / 2**20
    orders = {
        f"{given.model} alone": (model, vectors),
        "its first hundred, by the judge": (reordered(model, probability), vectors + pairs),
        "its first hundred, by both": (reordered(model, by_both(probability)), vectors + pairs),
        "the judge alone": (council, pairs),
    }
    for name, (rankings, held) in orders.items():
        found = rankings.metrics(observed_pairs(run.parts[2]), ["recall", "ndcg"], [SHOWN])
        results[name] = {metric: float(np.nanmean(values)) for metric, values in found.items()} | {"MiB": held}
        rows.append([name, *(f"{results[name][metric]:.4f}" for metric in found), f"{held:.0f}"])
    markdown = table(["ranked by", f"recall@{SHOWN}", f"ndcg@{SHOWN}", "MiB held"], rows)
    write_results("rerank", {"machine": machine(torch.get_num_threads()), "test": results}, markdown)


def _judged(run: Run) -> JudgedPairs:
    if run.guidance is None:
        raise SystemExit("the preset judged nothing")
    return to_recbole_ids(run.guidance.judged, run.guidance.train, run.parts[0])


def _council(dataset: str, keys: dict[str, object]) -> Rankings:
    other = assemble_run(DTLNSConfig("Council", dataset, config_dict=keys))
    other.trainer.fit(other.data.train_loader, other.data.valid_loader)
    return other.trainer.rank(other.data.test_loader, RETRIEVED)


if __name__ == "__main__":
    main()
