"""A step of BPR with large tables of embeddings, with dense gradients and with those of the batch's rows alone.

A step is RecBole's model and what `dtlns_sparse_gradients` makes of it: look-up, loss, gradient, optimizer. An epoch is
the median step, times as many batches as the pairs fill: ten per user. Half as many items as users. Times are of the
processor, on one thread, so that what else the machine does is not in them.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import BPR
from reporting import machine, table, write_results

import recbole_dtlns.compat  # noqa: F401  repairs RecBole
from recbole_dtlns.bridge.models.sparse_gradients import make_sparse

ROWS = 2048
PAIRS_PER_USER = 10
SIZES = ((10**6, 64), (10**7, 32))  # users and dimension; dense Adam has four tables of each in memory
STEPS = {"dense": 5, "sparse": 50}


def measure(form: str, n_users: int, dimension: int) -> tuple[float, float]:
    """Processor seconds per step, the first left out, and the process's peak memory in GiB."""
    torch.set_num_threads(1)
    sizes = {"user_id": n_users, "item_id": n_users // 2}
    config: dict[str, Any] = {
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "NEG_PREFIX": "neg_",
        "device": torch.device("cpu"),
        "embedding_size": dimension,
    }
    model = BPR(config, SimpleNamespace(num=sizes.get))
    if form == "sparse":
        make_sparse(model)
        optimizer: torch.optim.Optimizer = torch.optim.SparseAdam(list(model.parameters()))
    else:
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
    seconds = []
    for _ in range(STEPS[form] + 1):
        ids = {name: torch.randint(1, size, (ROWS,)) for name, size in sizes.items()}
        batch = Interaction({**ids, "neg_item_id": torch.randint(1, sizes["item_id"], (ROWS,))})
        started = time.process_time()
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
        seconds.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return statistics.median(seconds[1:]), peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("FORM", "USERS", "DIMENSION"), help="measure one, in this process")
    given = parser.parse_args()
    if given.one:
        form, n_users, dimension = given.one
        print(*measure(form, int(n_users), int(dimension)))
        return
    runs, rows = [], []
    for n_users, dimension in SIZES:
        found = {}
        for form in STEPS:
            own = [sys.executable, __file__, "--one", form, str(n_users), str(dimension)]
            step, peak = map(float, subprocess.run(own, check=True, capture_output=True, text=True).stdout.split())
            found[form] = step, peak
            runs.append({"users": n_users, "dimension": dimension, "form": form, "step": step, "peak_gib": peak})
        batches = -(-n_users * PAIRS_PER_USER // ROWS)
        for form, (step, peak) in found.items():
            cells = (f"{n_users:.0e} x {dimension}", form, f"{step * 1000:.1f} ms", f"{step * batches / 60:.1f} min")
            rows.append([*cells, f"{found['dense'][0] / step:.0f}", f"{peak:.1f} GiB"])
    heads = [
        "users x dimension",
        "gradients",
        "a step",
        f"epoch of {PAIRS_PER_USER} pairs per user",
        "times faster",
        "peak",
    ]
    write_results("large_tables", {"machine": machine(1), "runs": runs}, table(heads, rows))


if __name__ == "__main__":
    main()
