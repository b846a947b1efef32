"""DTL-NS for RecBole: dual-tree, false-negative-aware hard negative sampling (arXiv 2602.18249)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recbole_dtlns import compat
from recbole_dtlns.version import __version__

if TYPE_CHECKING:
    from recbole_dtlns.bridge.repairs.features import mend_recbole
    from recbole_dtlns.bridge.runner import prepare_only, run_recbole_dtlns
    from recbole_dtlns.bridge.serving.load_run import load_run
    from recbole_dtlns.bridge.transform import DTLNSTransform
    from recbole_dtlns.bridge.transformed_files import transform_files
    from recbole_dtlns.commands.tune import resume_tune, tune
    from recbole_dtlns.studies.judging import audit_judges, estimate_judging, export_requests, judge_candidates

_ENTRY_POINTS = {
    "run_recbole_dtlns": "bridge.runner",
    "prepare_only": "bridge.runner",
    "load_run": "bridge.serving.load_run",
    "tune": "commands.tune",
    "resume_tune": "commands.tune",
    "DTLNSTransform": "bridge.transform",
    "transform_files": "bridge.transformed_files",
    "mend_recbole": "bridge.repairs.features",
    "audit_judges": "studies.judging",
    "estimate_judging": "studies.judging",
    "export_requests": "studies.judging",
    "judge_candidates": "studies.judging",
}
__all__ = [
    "DTLNSTransform",
    "__version__",
    "audit_judges",
    "estimate_judging",
    "export_requests",
    "judge_candidates",
    "load_run",
    "mend_recbole",
    "prepare_only",
    "resume_tune",
    "run_recbole_dtlns",
    "transform_files",
    "tune",
]

compat.apply()


if not TYPE_CHECKING:  # where it is read, every name would be taken for one of ours

    def __getattr__(name: str) -> Any:
        # Loaded when first used: the core is importable, and `doctor` can report, where RecBole is missing.
        if name in _ENTRY_POINTS:
            compat.require_recbole()
            return getattr(import_module(f"recbole_dtlns.{_ENTRY_POINTS[name]}"), name)
        raise AttributeError(f"module 'recbole_dtlns' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
