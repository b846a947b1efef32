"""A file of recommendations, written shard by shard; whoever is killed repeats at most the shard under way."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from tqdm import tqdm

from recbole_dtlns.errors import ArtefactError, ConfigError
from recbole_dtlns.numerics.groups import stretches
from recbole_dtlns.serving.recommendations import Recommendations
from recbole_dtlns.storage.sealed_json import read_sealed, sealed
from recbole_dtlns.storage.whole_files import replacing, write_file

logger = logging.getLogger("recbole_dtlns")

FORMATS = (".parquet", ".tsv", ".jsonl")
USERS_PER_SHARD = 8192
_REQUEST, _LOCK = "request.json", "running.lock"


class RecommendationFile:
    """Where recommendations go.

    Finished shards lie in a folder beside it, `<name>.parts`, until the file is whole. They are used again by whoever
    asks for the same; whoever asks for something else starts anew. A shard's name holds the hash of its content, so a
    damaged one is noticed, and made again.

    Args:
        path: its suffix says the format: .parquet and .tsv hold a row for every recommendation, .jsonl a line for
            every user.

    Raises:
        ConfigError: no such format is known.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix not in FORMATS:
            raise ConfigError(f"--output={path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
        self._parts = self.path.with_name(f"{self.path.name}.parts")

    def write(
        self,
        users: Sequence[str],
        recommend: Callable[[Sequence[str]], Recommendations],
        request: Mapping[str, Any],
        users_per_shard: int = USERS_PER_SHARD,
    ) -> None:
        """Ask for all users, a shard at a time, and write the file when all are there.

        Args:
            users: tokens, at least one.
            recommend: answers for some of them, in their order.
            request: plain data that says all that the answers depend on, besides the user.
            users_per_shard: how many are asked for at once.

        Raises:
            ArtefactError: the folder cannot be written, or another process writes the same file.
        """

        def one_by_one(shards: Mapping[int, slice]) -> Iterator[tuple[int, Recommendations]]:
            return ((number, recommend(users[shard])) for number, shard in shards.items())

        self.write_as_they_come(len(users), one_by_one, request, users_per_shard)

    def write_as_they_come(
        self,
        n_users: int,
        answers: Callable[[Mapping[int, slice]], Iterator[tuple[int, Recommendations]]],
        request: Mapping[str, Any],
        users_per_shard: int = USERS_PER_SHARD,
    ) -> None:
        """`write` for whoever answers several shards at once.

        Args:
            n_users: how many users there are.
            answers: is given the shards that are not there yet, from which user to which by number, and gives the
                answers of each in any order.
            request, users_per_shard: as for `write`.

        Raises:
            ArtefactError: the folder cannot be written, or another process writes the same file.
        """
        shards = stretches(n_users, users_per_shard)
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            with FileLock(self._parts / _LOCK, timeout=0):
                self._keep_what_is_of({**request, "users_per_shard": users_per_shard, "format": self.path.suffix})
                done = self._done()
                if done:
                    logger.info("%d of %d shards of %s were done before", len(done), len(shards), self.path)
                missing = {number: shard for number, shard in enumerate(shards) if number not in done}
                with tqdm(total=n_users, desc="recommending", unit="user", disable=None, leave=False) as bar:
                    bar.update(n_users - sum(shard.stop - shard.start for shard in missing.values()))
                    for number, found in answers(missing):
                        payload = _encoded(found, self.path.suffix)
                        done[number] = self._parts / f"{number:06d}-{_name(payload)}{self.path.suffix}"
                        write_file(done[number], payload, "--output")
                        bar.update(len(found))
                self._join([done[number] for number in range(len(shards))])
        except Timeout:
            raise ArtefactError(
                f"another process is writing {self.path}: wait for it, or name another --output"
            ) from None
        except OSError as error:
            raise ArtefactError(
                f"cannot write {self.path} ({error.strerror}): free space or permissions there, or name another "
                "--output; shards already written are kept"
            ) from error
        shutil.rmtree(self._parts)

    def _done(self) -> dict[int, Path]:
        """The shards that are there as they were written; damaged ones are removed."""
        found = {}
        for path in sorted(self._parts.glob(f"[0-9]*-*{self.path.suffix}")):
            number, _, name = path.stem.partition("-")
            if name == _name(path.read_bytes()):
                found[int(number)] = path
            else:
                logger.warning("%s is damaged: its users are ranked again", path)
                path.unlink()
        return found

    def _keep_what_is_of(self, request: dict[str, Any]) -> None:
        """Remove the shards of another request."""
        try:
            before = read_sealed(self._parts / _REQUEST)
        except ArtefactError:  # there is none yet, or it is damaged: nothing says what the shards are of
            before = None
        if before != request:
            for shard in self._parts.glob(f"[0-9]*{self.path.suffix}"):
                shard.unlink()
            write_file(self._parts / _REQUEST, sealed(request), "--output")

    def _join(self, shards: Sequence[Path]) -> None:
        with replacing(self.path) as file:
            if self.path.suffix == ".parquet":
                self._join_tables(shards, file)
                return
            for number, shard in enumerate(shards):
                with shard.open("rb") as part:
                    if number and self.path.suffix == ".tsv":
                        part.readline()  # the header, which the first has written
                    shutil.copyfileobj(part, file)

    def _join_tables(self, shards: Sequence[Path], file: IO[bytes]) -> None:
        writer = None
        try:
            for shard in shards:
                part = pq.read_table(shard)
                writer = writer or pq.ParquetWriter(file, part.schema)
                writer.write_table(part)
        finally:
            if writer is not None:
                writer.close()


def read_tokens(file: str | Path) -> list[str]:
    """The tokens of a text file, one a line, each once.

    Raises:
        ArtefactError: the file cannot be read.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n")  # splitlines knows breaks that tokens may hold
    except OSError as error:
        raise ArtefactError(f"cannot read {file} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ArtefactError(f"{file} is not written in UTF-8: {error.reason} at byte {error.start}") from error
    return list(dict.fromkeys(line for line in lines if line))


def _name(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:32]


def _encoded(found: Recommendations, suffix: str) -> bytes:
    if suffix == ".jsonl":
        return "".join(f"{json.dumps(_line(found, *entry), ensure_ascii=False)}\n" for entry in found).encode()
    table = found.table()
    if suffix == ".tsv":
        return table.to_csv(sep="\t", index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n").encode()
    user, item = found.columns
    schema = pa.schema([(user, pa.string()), (item, pa.string()), ("rank", pa.int32()), ("score", pa.float32())])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False), buffer)
    return buffer.getvalue().to_pybytes()


def _line(found: Recommendations, user: str, best: Sequence[tuple[str, float]]) -> dict[str, Any]:
    return {
        found.columns[0]: user,
        f"{found.columns[1]}s": [item for item, _ in best],
        "scores": [score for _, score in best],
    }
