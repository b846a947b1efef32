"""What the bounds of the item graph cost: cohesion of the structure tree's leaves, measured in the graph of all edges.

`neighbours` keeps the strongest edges of every item, `max_history` samples longer histories. Means over three seeds of
k-means, relative to the unbounded graph, on ml-100k (in RecBole's package; its longest histories are the densest here),
made data of a million pairs, and the real Sports split where it lies beside the project.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import recbole
import torch
from reporting import machine, table, write_results
from trees import SPORTS, cohesion, made_train, plain_graph, read_train

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.trees.build import TreeShape, build_tree
from recbole_dtlns.trees.structure import MAX_HISTORY, NEIGHBOURS, item_graph, structure_vectors

ALL = 10**6
BOUNDS = [(ALL, ALL), (500, ALL), (200, ALL), (100, ALL), (50, ALL), (ALL, 400), (ALL, 200), (ALL, 100), (200, 200)]
ML_100K = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"


def data_sets() -> dict[str, TrainInteractions]:
    sets = {"ml-100k": read_train(ML_100K), "made, 1M pairs": made_train((30_000, 20_000, 10**6))}
    if SPORTS.exists():
        sets["Sports"] = read_train(SPORTS)
    return sets


def main() -> None:
    rows, found = [], {}
    for name, train in data_sets().items():
        full = plain_graph(train)
        for neighbours, max_history in BOUNDS:
            started = time.perf_counter()
            vectors = structure_vectors(train, 32, neighbours, max_history)
            seconds = time.perf_counter() - started
            leaves = [build_tree(vectors, TreeShape(seed=seed))[0].leaf_of_item for seed in range(3)]
            edges = item_graph(train, neighbours, max_history).nnz
            values = [cohesion(full, one) for one in leaves]
            found[f"{name}, {neighbours}, {max_history}"] = {"seconds": seconds, "edges": edges, "cohesion": values}
            share = np.mean(values) / np.mean(found[f"{name}, {ALL}, {ALL}"]["cohesion"])
            bounds = ["all" if bound == ALL else str(bound) for bound in (neighbours, max_history)]
            rows.append([name, *bounds, f"{edges / 1e6:.2f}", f"{seconds:.2f}", f"{share:.2f}"])
    headers = ["data", "neighbours", "max_history", "edges, millions", "seconds", "cohesion / unbounded"]
    text = f"Defaults: {NEIGHBOURS} neighbours, {MAX_HISTORY} items of a history."
    results = {"machine": machine(torch.get_num_threads()), "found": found}
    write_results("graph_bounds", results, f"{text}\n\n{table(headers, rows)}")


if __name__ == "__main__":
    main()
