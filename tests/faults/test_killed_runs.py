"""Runs that are killed at any moment: started again, they end with the result of a run that nobody disturbed."""

from __future__ import annotations

import re
import time
from pathlib import Path
from random import Random

import pytest
from commands import Command, figures, newest_run
from processes import Children, wait_for
from seeds import seeds

LONG = ["--epochs=60", "--stopping_step=60"]
# What is there when the signal comes; the first is right after the start.
MOMENTS = ["*", "saved/*/config.yaml", "killed-cache/**/*.safetensors", "saved/*/best.pth", "saved/*/last.pth"]


@pytest.mark.parametrize("seed", seeds(2, 25))
def test_a_killed_run_continues_to_the_same_result(seed: int, command: Command, children: Children) -> None:
    assert command("train", *LONG, "--checkpoint_dir=whole", "--dtlns_cache_dir=whole-cache").status == 0
    expected = figures(newest_run("whole"))
    mine = [*LONG, "--dtlns_cache_dir=killed-cache"]
    random = Random(seed)
    moment = MOMENTS[-1 - seed % len(MOMENTS)]
    killed = children.command("train", *command.shared, *mine)
    wait_for(lambda: any(Path().glob(moment)), f"{moment} exists", killed)
    time.sleep(random.uniform(0, 0.5))
    killed.kill()
    killed.wait()

    begun = [f"--resume_from={newest_run()}"] if Path("saved").exists() else []
    ended = command("train", *mine, *begun)
    assert ended.status == 0, ended.message
    assert figures(newest_run()) == expected
    torn = [path for path in Path("saved").rglob(".*") if re.fullmatch(r"\..+\.[0-9a-f]{16}", path.name)]
    assert not torn, "what the killed run left half-written is removed"
