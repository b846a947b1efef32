"""An item tree as paths, and the similarity of two items in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from recbole_dtlns.errors import DataError

# A full leaf-by-leaf table is the fastest look-up; above this many leaves (64 MiB) prefixes are looked up instead.
_TABLE_LEAVES = 4096


@dataclass(frozen=True)
class ItemTree:
    """Paths of items, from the root: the child index at every level.

    Attributes:
        digits: int16 [n_items, depth]; row i is the path of item i, padded with -1 after its leaf.
            An item without a path has only -1.
    """

    digits: np.ndarray

    @classmethod
    def from_paths(cls, paths: Sequence[str]) -> ItemTree:
        """Parse one path per item, such as "0-3-1-2"; an empty string means that the item has no path.

        Raises:
            DataError: a path is not made of child indices 0..32766 joined by "-".
        """
        rows = [_parse(path, f"item {position}") for position, path in enumerate(paths)]
        return cls(_pad(rows))

    @classmethod
    def from_file(cls, file: str | Path, item_tokens: Sequence[str]) -> tuple[ItemTree, int]:
        """Read a tab-separated file with the header `item_id<TAB>path`.

        Args:
            file: the file.
            item_tokens: the items of the tree, in its order.

        Returns:
            the tree, and how many lines name an item that is not in `item_tokens` (they are left out).

        Raises:
            DataError: the file cannot be read, its header is missing, a line is malformed or an item has two paths
                (file and line named).
        """
        position = {token: index for index, token in enumerate(item_tokens)}
        rows: list[list[int]] = [[] for _ in item_tokens]
        seen: set[str] = set()
        unknown = 0
        try:
            # not splitlines(): it also breaks at characters that a token may hold, such as U+2028
            lines = Path(file).read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the tree paths in {file}: {error}") from error
        if [column.partition(":")[0] for column in lines[0].split("\t")] != ["item_id", "path"]:
            raise DataError(f"{file}, line 1: expected the header 'item_id<TAB>path', found {lines[0]!r}")
        for number, line in enumerate(lines[1:], start=2):
            where = f"{file}, line {number}"
            token, separator, path = line.partition("\t")
            if not separator:
                raise DataError(f"{where}: expected an item and its path separated by a tab, found {line!r}")
            if token in seen:
                raise DataError(f"{where}: item '{token}' has a path already; keep one line per item")
            seen.add(token)
            digits = _parse(path, where)
            if token in position:
                rows[position[token]] = digits
            else:
                unknown += 1
        return cls(_pad(rows)), unknown

    @property
    def n_items(self) -> int:
        return len(self.digits)

    @property
    def paths(self) -> list[str]:
        """The paths as text; items without a path give an empty string."""
        return ["-".join(str(digit) for digit in row if digit >= 0) for row in self.digits.tolist()]

    @cached_property
    def leaf_of_item(self) -> np.ndarray:
        """Leaf number of every item, int64 [n_items]; -1 for an item without a path."""
        return self._leaves[1]

    @cached_property
    def leaf_lengths(self) -> np.ndarray:
        """Length of the path of every leaf, int64 [n_leaves]."""
        return (self._leaves[0] >= 0).sum(axis=1)

    @property
    def n_leaves(self) -> int:
        return len(self._leaves[0])

    @cached_property
    def _leaves(self) -> tuple[np.ndarray, np.ndarray]:
        has_path = self.digits[:, 0] >= 0
        leaf_digits, inverse = np.unique(self.digits[has_path], axis=0, return_inverse=True)
        leaf_of_item = np.full(self.n_items, -1, dtype=np.int64)
        leaf_of_item[has_path] = inverse.reshape(-1)
        return leaf_digits, leaf_of_item

    @cached_property
    def leaf_prefixes(self) -> np.ndarray:
        """Length of the prefix that a run of neighbouring leaves shares, int16 [1 + log2 of leaves, n_leaves].

        Row k, column i is about the leaves i to i + 2^k. Leaves are numbered in the order of their paths, so two leaves
        share what all between them share, and two overlapping runs cover any range (a sparse table, Bender &
        Farach-Colton, LATIN 2000).
        """
        digits = self._leaves[0]
        equal = (digits[:-1] == digits[1:]) & (digits[1:] >= 0)
        rows = [np.append(np.logical_and.accumulate(equal, axis=1).sum(axis=1), 0).astype(np.int16)]
        reach = 1
        while 2 * reach < len(digits):
            shorter = rows[-1].copy()
            shorter[:-reach] = np.minimum(shorter[:-reach], rows[-1][reach:])
            rows.append(shorter)
            reach *= 2
        return np.stack(rows)

    @cached_property
    def leaf_similarity(self) -> np.ndarray | None:
        """Similarity of every two leaves, float32 [n_leaves, n_leaves]; None when there are too many leaves."""
        if self.n_leaves > _TABLE_LEAVES:
            return None
        if self.n_leaves == 0:
            return np.zeros((0, 0), dtype=np.float32)
        leaves = np.arange(self.n_leaves)
        return np.stack([self._compare(np.full_like(leaves, leaf), leaves) for leaf in leaves])

    def similarity(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Longest common prefix / shorter path, in [0, 1], for pairs of items.

        It is 1 inside one leaf and 0 when either item has no path. Dividing by the shorter path follows the
        DTL-NS paper (arXiv 2602.18249).

        Args:
            first, second: item ids, integer arrays that broadcast against each other.

        Returns:
            float32 array of the broadcast shape.
        """
        a, b = np.broadcast_arrays(self.leaf_of_item[first], self.leaf_of_item[second])
        known = (a >= 0) & (b >= 0)
        if self.n_leaves == 0:
            return np.zeros(a.shape, dtype=np.float32)
        safe_a, safe_b = np.where(known, a, 0), np.where(known, b, 0)
        table = self.leaf_similarity
        values = self._compare(safe_a, safe_b) if table is None else table[safe_a, safe_b]
        return np.where(known, values, np.float32(0))

    def _compare(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Similarity of leaves, int64 arrays of one shape."""
        gap = np.abs(a - b)
        run = np.frexp(np.maximum(gap, 1))[1].astype(np.int64) - 1  # floor of log2, exactly
        first = run * self.n_leaves + np.minimum(a, b)
        prefixes = self.leaf_prefixes.ravel()
        last = np.maximum(first + gap - (np.int64(1) << run), 0)
        shared = np.minimum(prefixes.take(first), prefixes.take(last))
        shorter = np.minimum(self.leaf_lengths.take(a), self.leaf_lengths.take(b))
        return np.where(a == b, np.float32(1), (shared / shorter).astype(np.float32))


def _parse(path: str, where: str) -> list[int]:
    if not path:
        return []
    try:
        # int() also reads "+1", "1_0" and digits of other scripts, which no path holds
        digits = [int(part) if part.isascii() and part.isdigit() else -1 for part in path.split("-")]
    except ValueError:  # thousands of digits
        digits = [-1]
    if any(not 0 <= digit < 2**15 - 1 for digit in digits):
        raise DataError(f"{where}: {path!r} is not a tree path; write child indices from the root, such as 0-3-1-2")
    return digits


def _pad(rows: list[list[int]]) -> np.ndarray:
    depth = max((len(row) for row in rows), default=0)
    digits = np.full((len(rows), max(depth, 1)), -1, dtype=np.int16)
    for index, row in enumerate(rows):
        digits[index, : len(row)] = row
    return digits
