"""Damaged files of a run: named or made again, or the result is what it would have been; never another one."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest
from commands import Command, figures, newest_run
from damage import damage_one, files_in
from seeds import seeds

BEGUN, WHOLE = "--epochs=2", "--epochs=4"
PLAIN = "--dtlns_preset=off"  # closed-form models draw no negatives
MODELS = {"BPR": [], "LightGCN": [], "NeuMF": [], "ItemKNN": [PLAIN], "SLIMElastic": [PLAIN]}


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "ItemKNN"])
def test_a_damaged_run_folder_never_continues_to_another_result(model: str, command: Command) -> None:
    """Every kind of file, at a few places each."""
    _continue_damaged(model, command, range(8))


@pytest.mark.faults
@pytest.mark.parametrize("model", MODELS)
def test_many_damaged_run_folders_never_continue_to_another_result(model: str, command: Command) -> None:
    _continue_damaged(model, command, range(100, 200))


def _continue_damaged(model: str, command: Command, places: range) -> None:
    settings = [f"--model={model}", *MODELS[model]]
    assert command("train", *settings, BEGUN).status == 0
    begun = newest_run().rename("begun")
    assert command("train", *settings, WHOLE, "--resume_from=begun").status == 0
    expected = figures(newest_run())
    for seed in places:
        damaged = Path(shutil.copytree(begun, f"damaged-{seed}"))
        path, what = damage_one(files_in(damaged), Random(seed))
        ended = command("train", *settings, WHOLE, f"--resume_from={damaged}")
        if ended.status == 0:
            assert figures(newest_run()) == expected, f"{path}: {what} (seed {seed})"
        else:
            assert str(path) in ended.message, f"{path}: {what} (seed {seed}): {ended.message}"
        shutil.rmtree(damaged)


@pytest.mark.parametrize("seed", seeds(4, 60))
def test_a_damaged_cache_never_prepares_another_result(seed: int, command: Command) -> None:
    """Artefacts of the stages: the damaged one is made again."""
    assert command("train", BEGUN).status == 0
    expected = figures(newest_run())
    random = Random(seed)
    for _ in range(3):
        damage_one([path for path in files_in(Path("cache")) if path.suffix == ".safetensors"], random)
    assert command("train", BEGUN).status == 0
    assert figures(newest_run()) == expected
