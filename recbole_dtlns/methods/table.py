"""The methods that a configuration can name."""

from __future__ import annotations

from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods.contract import Method, Task
from recbole_dtlns.methods.dtlns import DTLNS
from recbole_dtlns.methods.off import Off
from recbole_dtlns.registry import Registry

METHODS: Registry[Method] = Registry("method", "recbole_dtlns.methods", {"dtlns": DTLNS, "off": Off})


def guide(task: Task) -> Guidance:
    """What the method that the settings name tells training; raises as it does."""
    return METHODS.make(task.flat["method"], task.flat).guide(task)
