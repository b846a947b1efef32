"""Which of many keys belong to a set."""

from __future__ import annotations

import numpy as np

# Odd factors whose products' high bits serve as hashes (Knuth, TAOCP 3, 6.4): the golden ratio's, and one unlike it.
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


class KeyFilter:
    """Finds the few keys that belong to a set: two tables of bytes let nearly all others through without a search.

    Args:
        keys: the set, int64, ascending.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self._sorted = keys
        bits = max(10, (8 * len(keys)).bit_length())  # an eighth of a table is set at most
        self._shift = np.uint64(64 - bits)
        self._tables = [np.zeros(2**bits, dtype=bool) for _ in _FACTORS]
        for table, factor in zip(self._tables, _FACTORS, strict=True):
            table[self._hash(keys, factor)] = True

    def _hash(self, keys: np.ndarray, factor: np.uint64) -> np.ndarray:
        return ((keys.view(np.uint64) * factor) >> self._shift).view(np.int64)

    def places_of(self, keys: np.ndarray) -> np.ndarray:
        """Positions in the flattened keys of those that belong to the set."""
        flat = keys.reshape(-1)
        places = np.flatnonzero(self._tables[0].take(self._hash(flat, _FACTORS[0])))
        places = places[self._tables[1].take(self._hash(flat[places], _FACTORS[1]))]
        if len(places) == 0:
            return places
        wanted = flat[places]
        found = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return places[self._sorted[found] == wanted]
