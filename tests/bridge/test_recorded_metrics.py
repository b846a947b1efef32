"""What runs gave when they were recorded, they still give: losses, metrics, weights and the names of what is prepared.

Each run is `run_recbole_dtlns` on a tenth of ml-100k for two epochs, and nothing of the package is used but its public
functions, what they return and the files that they write. `recorded_metrics.json` beside this file holds, for each:

- `loss`, `valid`, `test`: compared within a tolerance, for other processors round otherwise;
- `prepared`: by stage, the artefact's name in the store and the start of its checksum. A stage that does not read what
  another one rounded has the same name everywhere. A changed name means that users' caches are not found again;
- `weights`: digest of the trained model.

On the machine that wrote the file everything is equal to the last bit, which is what a change of structure must keep:

    RECORDED_METRICS=exact OMP_NUM_THREADS=1 python -m pytest tests/bridge/test_recorded_metrics.py

On another machine, write the file with the code before the change first. It is written anew, where results change on
purpose, by:

    OMP_NUM_THREADS=1 python tests/bridge/test_recorded_metrics.py
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import recbole
import torch
from safetensors import safe_open

from recbole_dtlns import export_requests, run_recbole_dtlns
from recbole_dtlns.negatives.samplers import SAMPLERS

EXACT = os.environ.get("RECORDED_METRICS") == "exact"
HERE = Path(__file__).resolve().parent
RECORD = HERE / "recorded_metrics.json"
# Every third of EASE's first twenty for these users, with made-up probabilities: labels, candidates and a pool.
PAIRS = "recorded_pairs.tsv"  # copied to where a run works, so that no record holds the path of a folder
REPLIES = "replies.jsonl"

DATASET = "early-ml-100k"  # of its first tenth in time, the filters leave 101 users, 361 items and 7,097 pairs
LATEST = 876338453
SETTING = {
    "use_gpu": False,
    "show_progress": False,
    "data_path": ".",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "user_inter_num_interval": "[10,inf)",
    "item_inter_num_interval": "[10,inf)",
    "epochs": 2,
    "train_batch_size": 1024,
    "eval_batch_size": 1_000_000,
    "embedding_size": 16,
    "learning_rate": 0.01,
    "metrics": ["Recall", "NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "metric_decimal_place": 12,
    "dtlns_cache_dir": "cache",
}
STRICTER = {"judge_threshold": 1.0}  # by default nearly all candidates are positive on so few items
CALIBRATED = {"judge": "calibrated"}
TWO_NEGATIVES = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 2}}
ASKED = {"judge": "recorded", "judge_labels": REPLIES, "judge_model": "some-model"}
OF_RECBOLE = {*TWO_NEGATIVES, "n_layers", "hidden_size_list", "mlp_hidden_size"}


def settings_of_runs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Model and settings of every run; the names are those of `dtlns_*` keys, without the prefix, and of RecBole's."""
    both = ("BPR", "LightGCN")
    for sampler in ("dtlns", "rns", "popularity", "dns", "dns_mn", "ahns", "srns", "mixgcf", "dens", "recbole"):
        target = {"ahns_beta": 0.001} if sampler == "ahns" else {}  # within the scores of a model that learnt little
        yield from ((model, {"sampler": sampler, **target}) for model in both)
    for preset in ("off", "rows"):
        yield from ((model, {"preset": preset}) for model in both)
    yield "LightGCN", {"preset": "authors", "teacher_epochs": 2}

    yield "NeuMF", {"sampler": "dtlns"}
    yield "NGCF", {"sampler": "dns", "hidden_size_list": [16, 16]}
    yield "MultiVAE", {"preset": "off", "relabel_graph": True, "mlp_hidden_size": [32]}

    for teacher in ({"teacher": "ItemKNN"}, {"teacher": "BPR", "teacher_epochs": 2}, {"candidates_file": PAIRS}):
        yield "BPR", teacher
    for tree in (
        {"tree_balance": "none", "tree_leaf_size": 10},
        {"tree_balance": "authors", "tree_branching": 3},
        {"tree_control": "shuffled"},
        {"tree_control": "random"},
        {"graph_neighbours": 10, "graph_max_history": 20, "structure_dim": 8},
    ):
        yield "BPR", {**tree, **STRICTER}

    for judge in (
        {"judge": "structural", **STRICTER},
        CALIBRATED,
        {"judge": "recorded", "judge_labels": PAIRS},
        {"judge": "recorded", "judge_labels": PAIRS, "judge_missing": "negative", "relabel_order": "probability"},
        ASKED,
        {**ASKED, "judge_prompt": "user"},
        {**ASKED, "judge": "distilled", "judge_llm": "recorded", "judge_max_llm_pairs": 500},
        {"judge": "always"},
        {"judge": "never"},
        {"judge": "random", "judge_random_rate": 0.3},
        {"judge": "rank", "judge_rank_first": 3},
        {"judge": "shuffled"},
    ):
        yield "BPR", judge

    yield "BPR", {**STRICTER, "relabel_top": 0, "relabel_decay": 0.5}
    yield "BPR", {**STRICTER, "relabel_exclude": False, "relabel_weight": 2.0}
    yield "BPR", {**STRICTER, "relabel_add": False}
    yield "LightGCN", {**STRICTER, "relabel_graph": True}
    yield "BPR", {"hide_train": 0.1, "seed": 7}

    yield "BPR", {"pool": "popularity"}
    yield "BPR", {"pool": "tree", "pool_depths": [1, 2]}
    yield "BPR", {"pool": "tree", "pool_tree": "semantic", "pool_tree_share": 0.8}
    yield "BPR", {"pool": "file", "pool_file": PAIRS, "relabel_exclude": False}

    yield "LightGCN", {"loss": "auto", "relabel_decay": 1.0}
    yield "BPR", {"loss": "bpr", "loss_debiased": True, **CALIBRATED, **TWO_NEGATIVES}
    yield "BPR", {"loss": "sum_exp", **TWO_NEGATIVES}
    yield "LightGCN", {"loss": "softmax", "loss_temperature": 0.5, **TWO_NEGATIVES}
    yield "LightGCN", {"loss": "sampled_softmax", "loss_shared": 128, "sampler": "rns"}
    yield "BPR", {"loss": "model", **TWO_NEGATIVES}

    yield "LightGCN", {"sampler": "dtlns", "mixing": True}
    yield "LightGCN", {"sampler": "dns_mn", "mixing": True}
    yield "LightGCN", {"sampler": "ahns", "ahns_beta": 0.001, "mixing": True, "loss": "softmax"}
    for sampler in ("dns_mn", "ahns", "srns", "mixgcf"):  # dns would be dtlns
        yield "BPR", {"sampler": sampler, "tree_terms": True}

    yield "BPR", {"n_candidates": {0: 2, 2: 20}, "alpha_co": {0: 0.0, 1: 1.0}, "alpha_se": {0: 1.0, 1: 0.0}}
    yield "BPR", {"sampler": "dns", "warmup_epochs": 1, "n_candidates": 64, "hardest_rank": 20}
    yield "LightGCN", {"fast": False}


def name_of(model: str, settings: dict[str, Any]) -> str:
    told = (f"{key}={value}" for key, value in settings.items())
    return " ".join((model, *told)).replace("'", "")


RUNS = {name_of(model, settings): (model, settings) for model, settings in settings_of_runs()}


def measured(name: str) -> dict[str, Any]:
    """What a run in the working folder, which must be empty, gives of what is recorded."""
    model, short = RUNS[name]
    write_data(Path(DATASET, f"{DATASET}.inter"))
    shutil.copy(HERE / PAIRS, PAIRS)
    settings = (
        {} if short.get("preset") == "authors" else {"dtlns_teacher": "EASE"}
    )  # the default when this was recorded
    settings |= SETTING | {key if key in OF_RECBOLE else f"dtlns_{key}": value for key, value in short.items()}
    prepared = {}
    if short.get("judge_labels") == REPLIES:
        export_requests("requests.jsonl", model, DATASET, config_dict=settings)
        requests = Path("requests.jsonl").read_bytes()
        prepared["requests"] = hashlib.sha256(requests).hexdigest()[:12]
        Path(REPLIES).write_text("".join(map(reply, requests.decode().splitlines())))
    result = run_recbole_dtlns(model, DATASET, config_dict=settings)
    last = torch.load(Path(result["run_folder"]) / "last.pth", weights_only=True)
    for file in sorted(Path("cache").rglob("*.safetensors")):
        prepared[file.parent.name] = f"{file.stem} {checksum(file)[:12]}"
    for file in Path("cache").glob("llm-verdicts/*/set.json"):
        prepared["llm-verdicts"] = file.parent.name
    return {
        "loss": [epoch["loss"] for epoch in last["curve"]],
        "valid": [epoch["valid"] for epoch in last["curve"]],
        "test": {metric: float(value) for metric, value in result["test_result"].items()},
        "weights": digest(last["state_dict"]),
        "prepared": prepared,
    }


def write_data(file: Path) -> None:
    """The early lines of the ml-100k that is shipped in RecBole; to read all of them would take half of the time."""
    shipped = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    header, *rows = shipped.read_text().splitlines(keepends=True)
    file.parent.mkdir()
    file.write_text(header + "".join(row for row in rows if int(row.rpartition("\t")[2]) <= LATEST))


def reply(request: str) -> str:
    """An answer in OpenAI's batch format that depends on nothing but the request's id."""
    asked = json.loads(request)
    drawn = hashlib.sha256(asked["custom_id"].encode()).digest()
    if asked["body"].get("logprobs"):
        content = "yes" if drawn[0] < 128 else "no"
        top = [{"token": "yes", "logprob": -drawn[0] / 100}, {"token": "no", "logprob": -2.55 + drawn[0] / 100}]
        choice = {"logprobs": {"content": [{"token": content, "top_logprobs": top}]}}
    else:
        listed = len(asked["body"]["messages"][-1]["content"].partition("Candidates:\n")[2].splitlines())
        content = str([number for number in range(1, listed + 1) if drawn[number] < 64])
        choice = {}
    body = {"choices": [{"message": {"role": "assistant", "content": content}, **choice}]}
    answer = {"custom_id": asked["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
    return json.dumps(answer) + "\n"


def checksum(artefact: Path) -> str:
    with safe_open(artefact, framework="numpy") as file:
        return json.loads(file.metadata()["artefact"])["checksum"]


def digest(weights: dict[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name, values in sorted(weights.items()):
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode() + values.numpy().tobytes())
    return found.hexdigest()[:16]


# Stages that read only the train pairs, files and the settings: what they are kept under holds nothing that is rounded.
SAME_EVERYWHERE = {"teacher", "structure", "candidates"}


def rounded_alike(found: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Without a processor's vector instructions losses differed by 6e-7 of their value, metrics by one rank.

    The rest is room for a near tie that decides for another negative.
    """
    assert found["loss"] == pytest.approx(recorded["loss"], rel=1e-4)
    for mine, theirs in zip([*found["valid"], found["test"]], [*recorded["valid"], recorded["test"]], strict=True):
        assert mine == pytest.approx(theirs, abs=0.01)
    assert found["prepared"].keys() == recorded["prepared"].keys()
    for stage in found["prepared"].keys() & SAME_EVERYWHERE:
        assert found["prepared"][stage].split()[0] == recorded["prepared"][stage].split()[0], stage


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", RUNS)
def test_runs_give_what_they_gave(name: str) -> None:
    recorded = json.loads(RECORD.read_text())["runs"][name]
    with one_thread():
        found = measured(name)
    if EXACT:
        assert found == recorded
    else:
        rounded_alike(found, recorded)


def test_every_sampler_is_recorded_and_every_record_is_compared() -> None:
    assert RUNS.keys() == json.loads(RECORD.read_text())["runs"].keys()
    for model in ("BPR", "LightGCN"):
        assert {*SAMPLERS.names(), "recbole"} <= {s.get("sampler") for m, s in RUNS.values() if m == model}


def record(names: Iterable[str] = RUNS) -> None:
    """Run all, and write what they give."""
    runs = {}
    with tempfile.TemporaryDirectory() as folder, one_thread():
        for number, name in enumerate(names):
            place = Path(folder, str(number))
            place.mkdir()
            os.chdir(place)
            with warnings.catch_warnings(action="ignore"):
                runs[name] = measured(name)
        os.chdir(HERE)
    made_with = {package: version(package) for package in ("torch", "numpy", "scipy", "scikit-learn", "recbole")}
    facts = ",\n".join(map(lines, runs.items()))
    RECORD.write_text(f'{{\n"made_with": {json.dumps(made_with)},\n"runs": {{\n{facts}}}\n}}\n')


def lines(run: tuple[str, dict[str, Any]]) -> str:
    """One line per fact of a run."""
    name, facts = run
    told = ",\n".join(f"  {json.dumps(fact)}: {json.dumps(value)}" for fact, value in facts.items())
    return f"{json.dumps(name)}: {{\n{told}}}"


if __name__ == "__main__":
    record()
