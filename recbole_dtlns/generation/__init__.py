"""Generation of hard negatives: from what users have and items say to a vector for every train pair."""

from recbole_dtlns.generation.contract import GenerationTask, Generator

__all__ = ["GenerationTask", "Generator"]
