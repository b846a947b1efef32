"""Snapshots that a killed search goes on from, also where the kill came in the middle of writing one.

Ray writes the state of a search (its trials, what draws them, the callbacks) over the last one, file by file. A copy of
the latest whole snapshot is kept beside it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from recbole_dtlns.storage.whole_files import write_atomically

KEPT = "snapshot"
_STATE = "experiment_state-"
_PICKLE_BEGINS, _PICKLE_ENDS = b"\x80", b"."  # the first and last instruction of every pickle


class Snapshots:
    """The snapshots in the folder of one search.

    Args:
        folder: of the search; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / KEPT
        self._written_at = 0

    def keep(self) -> None:
        """Copy the newest snapshot aside, if it is whole and was not copied yet."""
        state = _newest(self.folder)
        written_at = 0 if state is None else state.stat().st_mtime_ns
        if state is None or written_at == self._written_at:
            return
        contents = {path.name: path.read_bytes() for path in _of_session(state)}
        if not all(_is_whole(name, content) for name, content in contents.items()):
            return  # Ray is writing it; the next call finds it whole
        self.kept.mkdir(exist_ok=True)
        for name, content in contents.items():
            if name != state.name:
                write_atomically(self.kept / name, content)
        write_atomically(self.kept / state.name, contents[state.name])  # last: with it the copy counts
        self._written_at = written_at

    def mend(self) -> bool:
        """Put the kept snapshot in the place of one that was torn.

        Returns:
            whether there is a whole snapshot now.
        """
        for state in sorted(self.folder.glob(f"{_STATE}*"), reverse=True):
            files = _of_session(state)
            if all(_is_whole(path.name, path.read_bytes()) for path in files):
                return True
            for path in files:
                path.unlink()
            for path in _of_session(self.kept / state.name):
                shutil.copyfile(path, self.folder / path.name)
            if state.exists():
                return True
        return False


def _newest(folder: Path) -> Path | None:
    return max(folder.glob(f"{_STATE}*.json"), default=None)


def _of_session(state: Path) -> list[Path]:
    """The files that were written together with a state; none where it is missing."""
    session = state.stem.removeprefix(_STATE)
    return sorted(state.parent.glob(f"*-{session}.*")) if state.exists() else []


def _is_whole(name: str, content: bytes) -> bool:
    if not name.startswith(_STATE) and content.startswith(_PICKLE_BEGINS):  # also in files that are named .json
        return content.endswith(_PICKLE_ENDS)
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
