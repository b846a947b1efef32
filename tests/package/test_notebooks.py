"""The notebooks of the guide run from the first cell to the last, and are kept without what they print."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_kept_without_output(file: Path) -> None:
    cells = nbformat.read(file, as_version=4).cells
    assert [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own making
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_data", ["% of the items are of the kind that the customer likes", "(300, 64)"]),
        ("comparing", ["LEAKING", "against the baseline, p ="]),
    ],
)
def test_a_notebook_runs(name: str, said: list[str], empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = (file for file in NOTEBOOKS if file.stem == name)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("IPYTHONDIR", str(empty_folder / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(empty_folder / "jupyter"))
    notebook = nbformat.read(file, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=1700, kernel_name="python3", resources={"metadata": {"path": str(empty_folder)}}
    ).execute()
    printed = "".join(
        output.get("text", "") + "".join(map(str, output.get("data", {}).values()))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    for part in said:
        assert part in printed


def test_every_notebook_is_run() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["comparing", "own_data"]
