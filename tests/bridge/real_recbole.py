"""What RecBole's own entry point gives, in a process in which nothing of this package but its repairs runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# RecBole's quick start imports Ray for a function that is not called here; an empty module stands in for it.
_PROGRAM = """
import json, sys, types, warnings
warnings.simplefilter("ignore")
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray"].tune = types.ModuleType("tune")
import recbole_dtlns.compat
recbole_dtlns.compat.apply()
from recbole_dtlns.bridge.repairs.features import mend_recbole
mend_recbole()
from recbole.quick_start import run_recbole
from recbole.trainer import Trainer
epoch, losses = Trainer._train_epoch, []
def watched(*arguments, **named):
    losses.append(epoch(*arguments, **named))
    return losses[-1]
Trainer._train_epoch = watched
cases = json.loads(sys.argv.pop())
exec(sys.argv.pop())
results = {}
for name, settings in cases.items():
    losses.clear()
    result = run_recbole(config_dict=settings, saved=False)
    results[name] = {key: result[key] for key in ("best_valid_result", "test_result")} | {"losses": list(losses)}
print("RESULT" + json.dumps(results))
"""


def results_of_recbole(cases: Mapping[str, dict[str, Any]], folder: Path, before: str = "") -> dict[str, Any]:
    """For every case its metrics, `best_valid_result` and `test_result`, and the `losses` of its epochs.

    Args:
        cases: settings by name, model and data set among them.
        folder: where RecBole writes.
        before: code that is run before.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, before, json.dumps(cases)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout.split("RESULT")[-1])
    return results
