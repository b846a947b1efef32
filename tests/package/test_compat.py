"""RecBole on today's stack, and clear words where it is not there."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_dtlns import compat
from recbole_dtlns.errors import InstallationError

WITHOUT_RECBOLE = """
import sys, importlib.metadata
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "recbole":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
original = importlib.metadata.version
def version(name):
    if name == "recbole":
        raise importlib.metadata.PackageNotFoundError(name)
    return original(name)
importlib.metadata.version = version
from recbole_dtlns.commands.command_line import main
print(main(["doctor"]))
print(main(["train", "--model=BPR", "--dataset=ml-100k"]))
"""


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    original = importlib.metadata.version

    def version(name: str) -> str:
        if name not in versions:
            return original(name)
        found = versions[name]
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize(("version", "message"), [(None, "not installed"), ("1.1.1", "1.1.1 is installed")])
def test_a_missing_or_other_recbole_is_answered_with_the_command(
    version: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, recbole=version)
    with pytest.raises(InstallationError, match=f"{message}.*\n?.*pip install --no-deps recbole==1.2.1"):
        compat.require_recbole()


def test_recboles_old_pins_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ray="2.6.3", colorlog="4.7.2", colorama="0.4.6")
    assert compat.old_pins() == {"ray": "2.6.3", "colorlog": "4.7.2"}
    assert compat.repair_old_pins() == "pip install --upgrade ray colorlog && pip install --no-deps recbole==1.2.1"


def test_todays_versions_are_no_old_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ray="2.60.0", colorlog="6.9.0", colorama="0.4.6")
    assert compat.old_pins() == {}


def test_without_recbole_doctor_works_and_training_says_what_to_run() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_RECBOLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "problems:" in done.stdout and compat.INSTALL_RECBOLE in done.stdout
    *report, doctor, train = done.stdout.splitlines()
    assert (doctor, train) == ("1", "2") and report
    assert compat.INSTALL_RECBOLE in done.stderr


def test_repairs_are_made_once_and_only_where_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    compat.apply()
    matrix = sp.dok_matrix((2, 2))
    matrix._update({(0, 1): 3.0})
    assert matrix.toarray().tolist() == [[0, 3], [0, 0]]
    kept = vars(np)["float_"]
    compat.apply()
    assert vars(np)["float_"] is kept
    monkeypatch.setattr(sp.dok_matrix, "_update", "of its own", raising=False)
    compat.apply()
    assert sp.dok_matrix._update == "of its own"
