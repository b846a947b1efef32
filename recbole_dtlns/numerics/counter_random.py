"""Random numbers that depend on what they are for, not on when they are drawn.

Each draw is a hash of (seed, epoch, row, slot), so a training row meets the same candidates whatever the
number of workers and however rows are split into batches.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def counter_uniform(seed: int, epoch: int, rows: np.ndarray, slots: int) -> np.ndarray:
    """Uniform numbers in [0, 1), one for every row and slot.

    Args:
        seed: of the run.
        epoch: number of the epoch.
        rows: row identities, non-negative integers [B].
        slots: numbers per row.

    Returns:
        float64 [B, slots] with 53 random bits each.
    """
    key = np.uint64(_mix_integer(_mix_integer(seed) ^ epoch))
    row_key = split_mix(key ^ np.asarray(rows).astype(np.uint64))
    bits = split_mix(row_key[:, None] + np.arange(1, slots + 1, dtype=np.uint64) * _GOLDEN)
    bits >>= np.uint64(11)
    return bits * 2.0**-53


def _mix_integer(value: int) -> int:
    """`split_mix` of one number."""
    value = (value + int(_GOLDEN)) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def split_mix(value: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): every bit of the input changes half of the output's.

    Args:
        value: uint64, of any shape; arithmetic is modulo 2^64 on purpose.
    """
    value = value + _GOLDEN  # from here on in place
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value
