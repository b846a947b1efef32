"""What is left of EASE when its scores are cut to d dimensions: what a model of that size could hold of it this way.

    python benchmarks/low_rank.py [--sports FOLDER]

The best approximation of rank d of all users' scores (randomised singular value decomposition), ranked under the honest
mask on the published Sports data: train and validation pairs are masked, test pairs are looked for.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from reporting import machine, table, write_results
from sklearn.utils.extmath import randomized_svd
from sports_question import add_argument, sports_pairs, sports_train

from recbole_dtlns.data.item_sets import Observed, PairSet
from recbole_dtlns.evaluation.rankings import Rankings
from recbole_dtlns.teachers.closed_form import EASE

DIMENSIONS = (64, 128, 256, 512)
DEPTH = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    add_argument(parser)
    folder = parser.parse_args().sports
    train = sports_train(folder)
    valid, test = (sports_pairs(folder, part, train) for part in ("valid", "test"))
    seen = Observed.of(*train.histories()).union(valid)
    scores = np.asarray(EASE(reg=100.0, dimension=8).fit(train).scores(np.arange(train.n_users)), dtype=np.float32)
    scores[np.isneginf(scores)] = 0
    left, values, right = randomized_svd(scores, max(DIMENSIONS), n_oversamples=50, n_iter=4, random_state=0)
    results = {"whole": _metrics(scores, seen, test)}
    for dimension in DIMENSIONS:
        cut = (left[:, :dimension] * values[:dimension]) @ right[:dimension]
        results[str(dimension)] = _metrics(cut, seen, test)
    rows = [[name, *(f"{value:.4f}" for value in found.values())] for name, found in results.items()]
    markdown = table(["dimensions of EASE's scores", "recall@20", "ndcg@20"], rows)
    write_results("low_rank", {"machine": machine(torch.get_num_threads()), "test": results}, markdown)


def _metrics(scores: np.ndarray, seen: PairSet, test: Observed) -> dict[str, float]:
    masked = torch.from_numpy(scores.copy())
    masked[seen.users, seen.items] = -torch.inf
    best = masked[np.unique(test.users)].topk(DEPTH, dim=1)
    rankings = Rankings(np.unique(test.users), best.indices.numpy(), best.values.numpy())
    found = rankings.metrics(test, ["recall", "ndcg"], [DEPTH])
    return {name: float(values.mean()) for name, values in found.items()}


if __name__ == "__main__":
    main()
