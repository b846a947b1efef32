"""Judges: is a candidate a false negative?"""

from recbole_dtlns.judges.contract import Judge, Label, Question, Verdicts

__all__ = ["Judge", "Label", "Question", "Verdicts"]
