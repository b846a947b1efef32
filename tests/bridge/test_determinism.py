"""One seed, one result: whatever the hash seed, the number of workers and the size of batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import FORKS, QUICK, same_tensors, train

from recbole_dtlns.bridge.data.dataloader import CANDIDATES

ONE_RUN = """
import hashlib, json, sys, warnings
from pathlib import Path
import torch
warnings.simplefilter("ignore")
from recbole_dtlns import run_recbole_dtlns
keys = json.loads(sys.argv[1])
result = run_recbole_dtlns("LightGCN", "tiny", config_dict=keys)
files = sorted(Path(keys["dtlns_cache_dir"]).rglob("*.safetensors"))
digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
last = torch.load(Path(result["run_folder"]) / "last.pth", weights_only=True)["state_dict"]
weights = {name: hashlib.sha256(values.numpy().tobytes()).hexdigest() for name, values in last.items()}
print("RESULT" + json.dumps([result["test_result"], digests, weights]))
"""


def run_with_hash_seed(hash_seed: str, keys: dict[str, Any]) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", ONE_RUN, json.dumps({**QUICK, **keys, "dtlns_cache_dir": f"cache-{hash_seed}"})],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[-1])


def test_hash_seed_changes_neither_artefacts_nor_metrics(tiny: dict[str, Any]) -> None:
    first, second = (run_with_hash_seed(seed, tiny) for seed in ("1", "2"))
    assert first == second
    assert len(first[1]) == 6, "teacher, structure, two trees, verdicts, relabelling"


# 312 users and 319 items: matrices are still large enough for BLAS to share among threads.
A_PART = {"user_inter_num_interval": "[75,inf)", "item_inter_num_interval": "[75,inf)"}
PREPARATIONS = """
import hashlib, json, sys, warnings
import numpy as np
import scipy.linalg, sklearn.ensemble, sklearn.linear_model, torch  # all libraries that have threads of their own
from threadpoolctl import threadpool_info, threadpool_limits
from recbole_dtlns.bridge.runner import prepare_only
from recbole_dtlns.conformance.rule_engine import RuleEngine
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.distilled import DistilledJudge
warnings.simplefilter("ignore")
keys = json.loads(sys.argv[1])
found = []
for threads in (1, 4):
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    assert {library["num_threads"] for library in threadpool_info()} == {threads}
    cache = f"cache-{threads}"
    done = prepare_only("BPR", "ml-100k", config_dict={**keys, "dtlns_cache_dir": cache})
    assert not any(artefact.reused for artefact in done.artefacts.values())
    arrays = {stage: artefact.arrays for stage, artefact in done.artefacts.items()}
    question = Question(done.train, done.candidates, done.views)
    judge = DistilledJudge(engine=RuleEngine(), cache_dir=cache, max_llm_pairs=300)
    arrays["distilled"] = {"probability": judge.judge(question).probability}
    found.append({
        f"{stage}/{name}": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
        for stage, parts in arrays.items() for name, values in parts.items()
    })
print("RESULT" + json.dumps(found))
"""


@pytest.mark.parametrize(
    ("preset", "stages"), [("rows", {"teacher"}), ("best", {"teacher NeighbourRidge", "teacher GFCF", "council"})]
)
def test_the_number_of_threads_changes_no_artefact(preset: str, stages: set[str]) -> None:
    """On the dense part of ml-100k: every stage, to the last bit."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARATIONS, json.dumps({**QUICK, **A_PART, "dtlns_preset": preset})],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},  # more threads than cores would wait for each other busily
    )
    assert done.returncode == 0, done.stderr
    one, four = json.loads(done.stdout.split("RESULT")[-1])
    made = {name.split("/")[0] for name in one}
    assert made >= stages | {"structure", "structure tree", "semantic tree", "verdicts", "relabelling", "distilled"}
    assert one == four


def test_threads_change_nothing() -> None:
    """On ml-100k, whose batches are large enough for torch to share among threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    try:
        keys = {"eval_batch_size": 400_000, "train_batch_size": 16_384}
        first, second = (train("LightGCN", keys, dataset="ml-100k") for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert same_tensors(first.trainer.model.state_dict(), second.trainer.model.state_dict())
    assert not torch.are_deterministic_algorithms_enabled(), "the process is left as it was"


@FORKS
@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
def test_workers_change_nothing(model: str, tiny: dict[str, Any]) -> None:
    alone, helped = (train(model, tiny, epochs=2, worker=worker) for worker in (0, 2))
    assert alone.result["test_result"] == helped.result["test_result"]
    assert same_tensors(alone.trainer.model.state_dict(), helped.trainer.model.state_dict())


Candidates = dict[tuple[int, int, int], list[int]]


def candidates_by_row(model: str, batch_size: int, epoch: int, tiny: dict[str, Any]) -> Candidates:
    """The candidates of every (user, positive, number of the negative), two negatives per positive."""
    sampling = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 2}}
    loader = train(model, tiny, train_batch_size=batch_size, dtlns_relabel_top=0, **sampling).data.train_loader
    loader.set_epoch(epoch)
    found: Candidates = {}
    for batch in loader:
        columns = (batch[field].view(loader.times, -1) for field in ("user_id", "item_id"))
        users, positives = (column[0].tolist() for column in columns)
        blocks = batch[CANDIDATES].view(loader.times, len(users), -1)[-2:]
        for number, block in enumerate(blocks.tolist()):
            found |= {(*pair, number): row for *pair, row in zip(users, positives, block, strict=True)}
    assert len(found) == 2 * len(loader._rows)
    return found


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
def test_candidates_of_a_row_do_not_depend_on_the_batch_it_is_in(model: str, tiny: dict[str, Any]) -> None:
    small = candidates_by_row(model, 32, 3, tiny)
    assert small == candidates_by_row(model, 300, 3, tiny)
    assert small != candidates_by_row(model, 300, 4, tiny)
    assert len({tuple(row) for row in small.values()}) == len(small), "no two rows or negatives share their draws"


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "LightGCN"])
def test_evaluation_does_not_depend_on_its_batches(model: str, tiny: dict[str, Any]) -> None:
    results = [train(model, tiny, eval_batch_size=size).result["test_result"] for size in (1, 1000, 100_000)]
    assert results[0] == results[1] == results[2]


def test_a_run_that_trains_its_teacher_equals_one_that_finds_it(tiny: dict[str, Any]) -> None:
    """A teacher draws random numbers; training must not start from where it left the generators."""
    settings = {**tiny, "dtlns_teacher": "BPR", "dtlns_teacher_epochs": 1}
    first, second = (train("NGCF", settings, hidden_size_list=[16]) for _ in range(2))
    assert [run.preparation.artefacts["teacher"].reused for run in (first, second)] == [False, True]
    assert first.result["test_result"] == second.result["test_result"]
    assert same_tensors(first.trainer.model.state_dict(), second.trainer.model.state_dict())


def test_another_seed_gives_another_result(tiny: dict[str, Any]) -> None:
    first, second = (train("BPR", tiny, seed=seed) for seed in (1, 2))
    assert not same_tensors(first.trainer.model.state_dict(), second.trainer.model.state_dict())


def test_a_second_run_prepares_nothing(tiny: dict[str, Any]) -> None:
    train("BPR", tiny)
    again = train("BPR", tiny, dtlns_alpha_structure=0.7, seed=5, learning_rate=0.01).preparation
    assert again is not None and all(artefact.reused for artefact in again.artefacts.values())
    other = train("BPR", tiny, dtlns_judge_threshold=0.9).preparation
    assert other is not None
    recomputed = {stage for stage, artefact in other.artefacts.items() if not artefact.reused}
    assert recomputed == {"verdicts", "relabelling"}


def test_run_folders_never_collide(tiny: dict[str, Any]) -> None:
    folders = {train("BPR", tiny).result["run_folder"] for _ in range(3)}
    assert len(folders) == 3 and all((Path(folder) / "config.yaml").exists() for folder in folders)
