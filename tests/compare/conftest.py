"""A comparison on the block data, run once for all that look at it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from block_data import block_pairs, split_pairs, write_splits

from recbole_dtlns.studies.compare.compare import compare
from recbole_dtlns.studies.compare.comparison import Comparison

SHARED = {
    "epochs": 2,
    "train_batch_size": 256,
    "embedding_size": 16,
    "metrics": ["Recall", "NDCG", "Hit", "MRR", "Precision"],
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
}


def write_experiment(folder: Path) -> Path:
    """Three arms and a reference, one of them with hidden train pairs."""
    keys = write_splits(folder / "data", "tiny", *split_pairs(*block_pairs()))
    titles = [f"{item}\tA & B <{item}>" for item in sorted(set(block_pairs()[1]))]
    (folder / "data" / "tiny" / "tiny.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles, ""]))
    content = {
        "about": "does it <work>?",
        "model": "BPR",
        "dataset": "tiny",
        "seeds": [2020],
        "settings": {**SHARED, **keys},
        "authors_mask": {"dtlns_judge": "always", "dtlns_teacher": "EASE"},
        "references": ["EASE"],
        "arms": {
            "plain RecBole": {"dtlns_preset": "off"},
            "DTL-NS": {"sweep": {"dtlns_alpha_structure": [0.0, 0.5]}, "dtlns_hide_train": 0.2},
        },
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison, list[str]]:
    """Its experiment file, what it found, and what it said."""
    folder = tmp_path_factory.mktemp("compare")
    said: list[str] = []
    before = os.environ.get("RECBOLE_DTLNS_CACHE")
    os.environ["RECBOLE_DTLNS_CACHE"] = str(folder / "cache")
    try:
        path = write_experiment(folder)
        return path, compare(path, output=folder / "out", say=said.append), said
    finally:
        if before is not None:
            os.environ["RECBOLE_DTLNS_CACHE"] = before
