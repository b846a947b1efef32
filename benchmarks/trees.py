"""Structure vectors and both trees, beside a straightforward reading of the method: seconds and cohesion.

The plain way: the graph of all items that share a user, `eigsh(which="SM")` on its normalised Laplacian, and recursive
k-means with scikit-learn's defaults. A tree is as good as its leaves: cohesion is the mean weight, in the graph of all
items, of two items of one leaf. Data are made at Sports size; the real Sports split too where it lies beside this
project. The plain leaves are of any size; ours keep within the bounds on a child's size.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from made_data import SPORTS_SIZE, made_pairs
from reporting import machine, table, write_results
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.teachers.closed_form import ItemKNN
from recbole_dtlns.trees.build import TreeShape, build_tree
from recbole_dtlns.trees.structure import structure_vectors

SPORTS = Path(__file__).resolve().parents[2] / "shared" / "sports" / "sports.train.inter"


def read_train(file: Path) -> TrainInteractions:
    """The pairs of a file whose first two columns are user and item."""
    frame = pd.read_csv(file, sep="\t", dtype=str)
    return TrainInteractions.from_tokens(frame.iloc[:, 0].to_numpy(), frame.iloc[:, 1].to_numpy())


def made_train(size: tuple[int, int, int]) -> TrainInteractions:
    users, items = made_pairs(*size)
    return TrainInteractions.from_tokens(users.astype(str), items.astype(str))


def plain_graph(train: TrainInteractions) -> sp.csr_array:
    together = sp.coo_array(train.matrix.T @ train.matrix).astype(np.float64)
    row, column = together.coords
    degree = np.asarray(train.matrix.sum(axis=0), dtype=np.float64).ravel()
    apart = row != column
    row, column, shared = row[apart], column[apart], together.data[apart]
    return sp.csr_array((shared / (degree[row] + degree[column] - shared), (row, column)), shape=together.shape)


def plain_vectors(train: TrainInteractions) -> np.ndarray:
    graph = plain_graph(train)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = sp.diags_array(1 / np.sqrt(np.maximum(degree, 1e-12)))
    laplacian = sp.eye_array(len(degree)) - scale @ graph @ scale
    return eigsh(laplacian, k=33, which="SM")[1][:, 1:]


def plain_leaves(vectors: np.ndarray) -> np.ndarray:
    """Leaf of every item."""
    leaves = np.zeros(len(vectors), dtype=np.int64)
    pending, n_leaves = [np.arange(len(vectors))], 0
    while pending:
        items = pending.pop()
        if len(items) <= 30 or np.ptp(vectors[items], axis=0).max() == 0:
            leaves[items], n_leaves = n_leaves, n_leaves + 1
            continue
        with warnings.catch_warnings(action="ignore"):
            labels = KMeans(4, random_state=42).fit(vectors[items]).labels_
        pending += [items[labels == label] for label in range(4) if (labels == label).any()]
    return leaves


def cohesion(graph: sp.csr_array, leaves: np.ndarray) -> float:
    """Mean weight of two items of one leaf."""
    edges = graph.tocoo()
    row, column = edges.coords
    sizes = np.bincount(leaves)
    return float(edges.data[leaves[row] == leaves[column]].sum() / (sizes * (sizes - 1)).sum())


def measure(train: TrainInteractions, rounds: int) -> dict[str, Any]:
    """Medians over rounds, in turns, after one that does not count."""
    semantic = ItemKNN(k=200, shrink=10.0, dimension=64).fit(train).item_vectors
    graph = plain_graph(train)
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(rounds + 1):
        started = time.perf_counter()
        trees = [build_tree(vectors, TreeShape())[0] for vectors in (structure_vectors(train, 32), semantic)]
        between = time.perf_counter()
        plain = [plain_leaves(vectors) for vectors in (plain_vectors(train), semantic)]
        if turn:
            seconds["ours"].append(between - started)
            seconds["plain"].append(time.perf_counter() - between)
    leaves = {"ours": [tree.leaf_of_item for tree in trees], "plain": plain}
    return {
        name: {
            "seconds": statistics.median(values),
            "structure_cohesion": cohesion(graph, leaves[name][0]),
            "semantic_cohesion": cohesion(graph, leaves[name][1]),
            "mean_leaf": float(np.mean([train.n_items / len(np.bincount(one)) for one in leaves[name]])),
        }
        for name, values in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sets = {"made, Sports size": made_train(SPORTS_SIZE)}
    if SPORTS.exists():
        sets["Sports"] = read_train(SPORTS)
    else:
        print(f"without the real Sports split: {SPORTS} does not exist")
    with threadpool_limits(limits=1):
        found = {name: measure(train, given.rounds) for name, train in sets.items()}
    rows = []
    for name, both in found.items():
        for way, one in both.items():
            faster = f"{both['plain']['seconds'] / one['seconds']:.1f}x"
            cells = [f"{one[key]:.4f}" for key in ("structure_cohesion", "semantic_cohesion")]
            rows.append([name, way, f"{1e3 * one['seconds']:.0f}", faster, *cells, f"{one['mean_leaf']:.1f}"])
    headers = ["data", "way", "ms", "faster", "cohesion, structure", "cohesion, semantic", "items per leaf"]
    write_results("trees", {"machine": machine(1), "found": found}, table(headers, rows))


if __name__ == "__main__":
    main()
