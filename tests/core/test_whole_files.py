"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage.whole_files import write_file


@pytest.mark.parametrize("named_by", ["checkpoint_dir", "--output"])
def test_a_file_that_cannot_be_written_is_named_with_what_says_where_it_goes(named_by: str) -> None:
    Path("file").write_text("where a folder would be needed")
    with pytest.raises(ArtefactError, match=rf"cannot write file/below \(.*\): .* name another place with {named_by}$"):
        write_file(Path("file/below"), "text", named_by)


def test_text_is_written_in_utf_8_into_folders_that_are_made() -> None:
    write_file(Path("deep/er/file"), "größer", "--output")
    assert Path("deep/er/file").read_bytes() == "größer".encode()
    assert [path.name for path in Path("deep/er").iterdir()] == ["file"]
