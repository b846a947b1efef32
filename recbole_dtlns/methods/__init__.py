"""Methods: from train data to what training is told, and how negatives are chosen."""

from recbole_dtlns.methods.contract import Method, Task

__all__ = ["Method", "Task"]
