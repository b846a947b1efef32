"""What the searches of these tests share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

QUICK: dict[str, Any] = {"train_batch_size": 8192, "eval_batch_size": 400_000, "learning_rate": 0.01, "epochs": 3}
SPACE = {"dtlns_n_candidates": {"choice": [4, 8, 16]}, "dtlns_tree_leaf_size": {"choice": [20, 30]}}


def search(**given: Any) -> Any:
    from recbole_dtlns import tune

    keys = {**QUICK, **given.pop("keys", {})}
    return tune("BPR", "ml-100k", config_dict=keys, **{"space": SPACE, "samples": 3, "cpus": 1, **given})


def epochs_by_trial(folder: Path) -> dict[str, Counter[int]]:
    """How often each trial reported each epoch, over all of its processes."""
    found: dict[str, Counter[int]] = {}
    for events in folder.glob("tensorboard/*/events*"):
        accumulator = EventAccumulator(str(events))
        accumulator.Reload()
        scores = accumulator.Scalars("best_valid_score") if accumulator.Tags()["scalars"] else []
        found.setdefault(events.parent.name, Counter()).update(entry.step for entry in scores)
    return found
