"""The teachers that need no RecBole; every other name is a RecBole model's, or `checkpoint`."""

from recbole_dtlns.registry import Registry
from recbole_dtlns.teachers.closed_form import EASE, EDLAE, CoOccurrence, ItemKNN
from recbole_dtlns.teachers.content_knn import ContentKNN
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.markov_chain import MarkovChain
from recbole_dtlns.teachers.neighbour_ridge import NeighbourRidge
from recbole_dtlns.teachers.spectral import GFCF
from recbole_dtlns.teachers.transition_ridge import TransitionRidge

TEACHERS: Registry[Teacher] = Registry(
    "teacher",
    "recbole_dtlns.teachers",
    {
        "NeighbourRidge": NeighbourRidge,
        "EASE": EASE,
        "EDLAE": EDLAE,
        "ItemKNN": ItemKNN,
        "CoOccurrence": CoOccurrence,
        "GFCF": GFCF,
        "ContentKNN": ContentKNN,
        "TransitionRidge": TransitionRidge,
        "MarkovChain": MarkovChain,
    },
)
