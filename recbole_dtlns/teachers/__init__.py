"""Teachers: recommenders fitted on the train split that name candidates and give item vectors."""

from recbole_dtlns.teachers.contract import FittedTeacher, Teacher

__all__ = ["FittedTeacher", "Teacher"]
