"""Where results go, and what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from recbole_dtlns.storage.whole_files import write_atomically

RESULTS = Path(__file__).parent / "results"


def machine(threads: int) -> dict[str, Any]:
    """Processor, device, threads and versions."""
    model = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "scipy", "recbole", "recbole_dtlns")},
    }


def _cpu_lines() -> list[str]:
    information = Path("/proc/cpuinfo")
    return information.read_text().splitlines() if information.exists() else []


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_results(name: str, results: dict[str, Any], markdown: str) -> None:
    """Print the table, and write it and the raw figures into `benchmarks/results/`."""
    where = results["machine"]
    versions = ", ".join(f"{package} {where[package]}" for package in ("torch", "numpy", "recbole", "recbole_dtlns"))
    head = f"{where['device']}, {where['processor']}, {where['threads']} threads; Python {where['python']}, {versions}"
    suffix = "" if where["device"] == "cpu" else "-gpu"
    print(markdown)
    write_atomically(RESULTS / f"{name}{suffix}.json", json.dumps(results, indent=1).encode())
    write_atomically(RESULTS / f"{name}{suffix}.md", f"{head}\n\n{markdown}\n".encode())
