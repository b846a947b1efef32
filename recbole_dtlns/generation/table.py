"""The generators by name."""

from __future__ import annotations

from recbole_dtlns.generation.contract import Generator
from recbole_dtlns.generation.given import Given
from recbole_dtlns.generation.language_model.generator import LLMGenerator
from recbole_dtlns.generation.projection import Projection
from recbole_dtlns.generation.rule import Rule
from recbole_dtlns.registry import Registry

GENERATORS: Registry[Generator] = Registry(
    "generator",
    "recbole_dtlns.generators",
    {"rule": Rule, "projection": Projection, "llm": LLMGenerator, "file": Given},
)
