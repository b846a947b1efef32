"""What `make test-mutants` found, by module: changes to the code that the quick tests notice, and that they do not."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from reporting import machine, table, write_results

_NOTICED = ("killed", "timeout", "segfault", "suspicious")
_UNNOTICED = ("survived", "no tests")


def found() -> dict[str, Counter[str]]:
    """How many changes had which end, by module; those that were not tried are left out."""
    mutmut = Path(sys.executable).with_name("mutmut")
    answer = subprocess.run([mutmut, "results", "--all", "true"], check=True, capture_output=True, text=True)
    modules: dict[str, Counter[str]] = {}
    for line in answer.stdout.splitlines():
        name, _, end = line.strip().rpartition(": ")
        if end in _NOTICED + _UNNOTICED:
            module = name.removeprefix("recbole_dtlns.").rpartition(".")[0]
            modules.setdefault(module, Counter())[end] += 1
    return modules


def main() -> None:
    modules = found()
    rows = []
    for module, ends in {"all": sum(modules.values(), Counter()), **modules}.items():
        noticed = sum(ends[end] for end in _NOTICED)
        unnoticed = (str(ends[end]) for end in _UNNOTICED)
        rows.append([module, str(ends.total()), f"{noticed} ({noticed / ends.total():.0%})", *unnoticed])
    results = {"machine": machine(1), "modules": modules}
    write_results("mutants", results, table(["module", "changes", "noticed", "survived", "without a test"], rows))


if __name__ == "__main__":
    main()
