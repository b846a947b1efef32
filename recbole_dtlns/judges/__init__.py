"""Judges: is a candidate a false negative?"""

from recbole_dtlns.judges.contract import Judge, Label, Question, Rehearsal, Verdicts

__all__ = ["Judge", "Label", "Question", "Rehearsal", "Verdicts"]
