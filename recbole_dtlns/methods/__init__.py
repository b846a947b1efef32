"""Methods: from train data to what training is told, and how negatives are chosen."""

from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods.contract import Method, Task

__all__ = ["Guidance", "Method", "Task"]
