"""A folder of user and item vectors, for an index of nearest items."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage.folder import replacing_folder
from recbole_dtlns.storage.sealed_json import read_sealed, sealed

ABOUT = "about.json"


def source_of(folder: str | Path) -> str | None:
    """What the vectors in a folder were made from: a run, or a model where an earlier version named no run.

    None where the folder holds none. One whose note is damaged holds those of an unknown run.
    """
    note = Path(folder) / ABOUT
    if not note.exists():
        return None
    try:
        about = read_sealed(note)
    except ArtefactError:
        return "an unknown run"
    return str(about.get("run") or f"{about.get('model')} on {about.get('dataset')}")


@dataclass(frozen=True)
class Vectors:
    """Vectors whose products are a model's scores.

    Attributes:
        users, items: tokens [n_users] and [n_items].
        of_users, of_items: float32 [n_users, d] and [n_items, d], in the same order.
    """

    users: np.ndarray
    items: np.ndarray
    of_users: np.ndarray
    of_items: np.ndarray

    def write(self, folder: str | Path, about: Mapping[str, Any]) -> list[str]:
        """Write `users.npy`, `items.npy`, their tokens as JSON lists, and an index where faiss is installed.

        Args:
            folder: a new one, or one that an earlier call wrote, which is replaced as a whole.
            about: plain data on where they come from, written beside them.

        Returns:
            the names of the files.

        Raises:
            ArtefactError: the folder holds something else, or cannot be written.
        """
        target = Path(folder)
        if target.exists() and not (target / ABOUT).exists() and (not target.is_dir() or any(target.iterdir())):
            raise ArtefactError(f"{target} is there and holds no vectors: name a new folder with --output")
        try:
            with replacing_folder(target) as new:
                for name, tokens, vectors in (
                    ("users", self.users, self.of_users),
                    ("items", self.items, self.of_items),
                ):
                    np.save(new / f"{name}.npy", vectors)
                    (new / f"{name}.json").write_text(json.dumps(tokens.tolist(), ensure_ascii=False), encoding="utf-8")
                self._write_index(new / "items.faiss")
                size = {"users": len(self.users), "items": len(self.items), "dimension": self.of_items.shape[1]}
                (new / ABOUT).write_text(sealed({**about, **size}), encoding="utf-8")
        except OSError as error:
            raise ArtefactError(
                f"cannot write {target} ({error.strerror or error}): free space or permissions there, or name another "
                "--output"
            ) from error
        return sorted(path.name for path in target.iterdir())

    def _write_index(self, path: Path) -> None:
        if importlib.util.find_spec("faiss") is None:
            return
        import faiss

        index = faiss.IndexFlatIP(self.of_items.shape[1])
        index.add(np.ascontiguousarray(self.of_items))
        faiss.write_index(index, str(path))
