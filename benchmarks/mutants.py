"""What `make test-mutants` found, by module: changes to the code that the quick tests notice, and that they do not."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from reporting import machine, table, write_results

_NOTICED = ("killed", "timeout", "segfault", "suspicious")
_UNNOTICED = ("survived", "no tests")

# Survivors that were looked at: how many, and why no quick test need notice them.
_LOOKED_AT = {
    "judges.structural": (1, "None is written where NaN was, and stored as NaN"),
    "judges.calibrated": (
        1,
        "the seed of the boosted trees, which scikit-learn reads only above 200,000 pairs: too many for a quick test",
    ),
    "judges.features": (2, "a table of ranks has one entry more than is looked up"),
    "judges.audit": (4, "lists of one length are not checked to be so; no pairs are cut into two empty bins, not one"),
    "judges.controls": (1, "a random number may equal the rate, which happens once in 2 ** 53"),
    "evaluation.rankings": (
        7,
        "arguments that are the default too, or in capitals; a factor that cancels in NDCG; wider numbers for pairs, "
        "still distinct",
    ),
    "evaluation.significance": (
        17,
        "default seed and one resample more; numbers in memory at once; lists of one length not checked to be so; a "
        "tie within the slack for rounding; every sign pattern twice; p of exactly .1; arguments that NumPy and SciPy "
        "read alike, None in place of False; the difference in place of the sum, which is NaN for the same users",
    ),
    "losses.negative_weights": (2, "the weight of the last place, which no pair has"),
    "losses.list_sums": (1, "a division by a temperature of 1, which costs only time"),
    "losses.shared_negatives": (2, "one user more than there is; -2 in place of -1 for 'not drawn'"),
    "losses.user_lists": (
        5,
        "wider numbers for pairs, still distinct; one user more than there is; train data without any pair, which are "
        "refused long before",
    ),
    "negatives.pools.listed": (3, "other numbers for pairs, still distinct; positives, which a uniform draw ignores"),
    "negatives.choosing.hardest": (
        2,
        "the last dimension, which is the default; a place behind the last, which no number below 1 reaches",
    ),
    "negatives.choosing.remembered": (
        6,
        "the last dimension, which is the default; on which device memory and rows lie, of which a quick test has one",
    ),
    "trees.build": (
        25,
        "wider numbers for children and vectors; threads, which change the last bits only; what stands below a leaf, "
        "-2 in place of -1 or overwritten; a digit more of a share; a leaf without items, which there is not; another "
        "name of a stable sort, or one that is stable here; a balance that is looked at once more and found right; how "
        "many moves are needed where the bounds stop them as well",
    ),
    "trees.item_tree": (
        12,
        "wider numbers for digits; -2 in place of -1 for 'none'; a column that is always empty; the table of leaves, "
        "which saves time alone; an encoding in capitals",
    ),
    "trees.kmeans": (
        15,
        "subscripts in capitals, a result in the same place or a new one; a centre that is moved to the overall mean "
        "where its cluster is empty; vectors less one number, not less their mean; how many candidates a first centre "
        "is drawn from and with which rounding, which the tightness of clusters does not show",
    ),
    "trees.structure": (
        17,
        "which of two solvers takes a graph of 512 items, or of as many as are wanted; by how much the trivial vector "
        "is lowered; where the iteration starts; another name of a stable sort, or one that is stable here; warnings "
        "and checks of PyTorch",
    ),
    "guidance.relabelling": (2, "the name of the default order, which is whatever is not 'probability'"),
}


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


def survivors(modules: dict[str, Counter[str]]) -> str:
    """By module, what survived and why that is no gap, as far as somebody looked."""
    lines = []
    for module, ends in modules.items():
        looked_at, why = _LOOKED_AT.get(module, (0, ""))
        if new := max(ends["survived"] - looked_at, 0):
            why = f"{why}; {new} not looked at" if why else "not looked at"
        if ends["survived"]:
            lines.append(f"- {module} ({ends['survived']}): {why}.")
    return "\n".join(["What survived, and why no quick test need notice it:", "", *lines])


def main() -> None:
    modules = found()
    rows = []
    for module, ends in {"all": sum(modules.values(), Counter()), **modules}.items():
        noticed = sum(ends[end] for end in _NOTICED)
        unnoticed = (str(ends[end]) for end in _UNNOTICED)
        rows.append([module, str(ends.total()), f"{noticed} ({noticed / ends.total():.0%})", *unnoticed])
    results = {"machine": machine(1), "modules": modules}
    figures = table(["module", "changes", "noticed", "survived", "without a test"], rows)
    write_results("mutants", results, f"{figures}\n\n{survivors(modules)}")


if __name__ == "__main__":
    main()
