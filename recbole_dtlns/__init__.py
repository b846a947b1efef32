"""DTL-NS for RecBole: dual-tree, false-negative-aware hard negative sampling (arXiv 2602.18249)."""

from __future__ import annotations

from typing import Any

from recbole_dtlns import compat
from recbole_dtlns.version import __version__

__all__ = ["__version__", "audit_judges", "prepare_only", "run_recbole_dtlns"]

compat.apply()


def __getattr__(name: str) -> Any:
    # Loaded when first used: the core is importable, and `doctor` can report, where RecBole is missing.
    if name in ("audit_judges", "prepare_only", "run_recbole_dtlns"):
        compat.require_recbole()
        from recbole_dtlns.glue import runner

        return getattr(runner, name)
    raise AttributeError(f"module 'recbole_dtlns' has no attribute '{name}'")
