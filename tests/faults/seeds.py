"""How much of the campaign runs when: a few seeds with every test run, the rest with `make test-faults`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def seeds(always: int, campaign: int) -> list[Any]:
    """Seeds for `parametrize`: the first `always` of them are part of every test run."""
    return [*range(always), *_marked(range(always, campaign))]


def _marked(values: Iterable[int]) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.faults) for value in values]
