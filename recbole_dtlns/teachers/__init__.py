"""Teachers: recommenders fitted on the train split that name candidates and give item vectors."""

from recbole_dtlns.teachers.contract import Candidates, FittedTeacher, Teacher

__all__ = ["Candidates", "FittedTeacher", "Teacher"]
