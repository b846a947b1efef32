"""What an editor and a type checker see of the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recbole_dtlns

USERS_FILE = """
import recbole_dtlns
from recbole_dtlns import judge_candidates, run_recbole_dtlns

reveal_type(run_recbole_dtlns)
reveal_type(judge_candidates("BPR", "ml-100k").verdicts)
recbole_dtlns.prepare_only("BPR", "ml-100k", argumnets=[])
recbole_dtlns.run_recbole_dtlsn("BPR", "ml-100k")
from recbole_dtlns import tuen
"""
# The libraries below are large, and have no part in it.
SETTINGS = """
[mypy]
ignore_missing_imports = True
follow_imports = silent
[mypy-torch.*,numpy.*,pandas.*,scipy.*,sklearn.*,plotly.*,pydantic.*,recbole.*,ray.*,pyarrow.*,transformers.*,openai.*]
follow_imports = skip
"""


def test_names_are_checked_and_typed() -> None:
    """A wrong name or argument is an error, and a right one has its type."""
    pytest.importorskip("mypy")
    Path("mine.py").write_text(USERS_FILE)
    Path("mypy.ini").write_text(SETTINGS)
    path = {**os.environ, "MYPYPATH": str(Path(recbole_dtlns.__file__).parents[1])}
    command = [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "mine.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=path)
    told = re.findall(r"^mine.py:(\d+): (.*)", done.stdout, re.MULTILINE)
    of_line = {number: " ".join(text for line, text in told if line == str(number)) for number in range(5, 10)}
    assert "def (model: str | type | None =" in of_line[5] and "dict[str, Any]" in of_line[5], done.stdout
    assert "recbole_dtlns.judges.contract.Verdicts" in of_line[6]
    assert 'Unexpected keyword argument "argumnets"' in of_line[7]
    assert 'has no attribute "run_recbole_dtlsn"' in of_line[8]
    assert 'has no attribute "tuen"' in of_line[9]


def test_an_editor_lists_the_public_names() -> None:
    assert set(recbole_dtlns.__all__) <= set(dir(recbole_dtlns))
    for name in recbole_dtlns.__all__:
        assert getattr(recbole_dtlns, name) is not None


def test_a_name_that_does_not_exist_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tuen'"):
        recbole_dtlns.tuen  # type: ignore[attr-defined]  # noqa: B018
