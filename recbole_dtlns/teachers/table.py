"""The teachers that need no RecBole; every other name is a RecBole model's, or `checkpoint`."""

from recbole_dtlns.registry import Registry
from recbole_dtlns.teachers.closed_form import EASE, ItemKNN
from recbole_dtlns.teachers.contract import Teacher

TEACHERS: Registry[Teacher] = Registry("teacher", "recbole_dtlns.teachers", {"EASE": EASE, "ItemKNN": ItemKNN})
