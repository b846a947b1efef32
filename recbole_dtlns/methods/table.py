"""The methods that a configuration can name."""

from __future__ import annotations

import numpy as np

from recbole_dtlns.errors import ContractError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods.contract import Method, Task
from recbole_dtlns.methods.dtlns import DTLNS
from recbole_dtlns.methods.hnlmrec import HNLMRec
from recbole_dtlns.methods.off import Off
from recbole_dtlns.registry import Registry

METHODS: Registry[Method] = Registry(
    "method", "recbole_dtlns.methods", {"dtlns": DTLNS, "hnlmrec": HNLMRec, "off": Off}
)


def guide(task: Task) -> Guidance:
    """What the method that the settings name tells training; raises as it does.

    Raises:
        ContractError: what it tells is no guidance, or not about these train pairs.
    """
    name = task.flat["method"]
    found = METHODS.make(name, task.flat).guide(task)
    if problem := _problem(found, task):
        raise ContractError(f"the method '{name}' gave {problem}")
    return found


def _problem(found: Guidance, task: Task) -> str:
    """What is wrong with it, in words; empty where nothing is."""
    if not isinstance(found, Guidance):
        return f"{found!r:.200}, and no Guidance"
    train = task.train
    if found.train is not train and found.train.fingerprint != train.fingerprint:
        return "guidance made from other train pairs than it was given"
    for what, pairs in (("positives", found.positives), ("forbidden", found.forbidden), ("judged", found.judged)):
        for ids, count in ((np.asarray(pairs.users), train.n_users), (np.asarray(pairs.items), train.n_items)):
            if len(ids) != len(pairs) or (len(ids) and not 0 <= ids.min() <= ids.max() < count):
                return f"{what} with ids that are none of the train users and items"
    positives, weight = found.positives, found.positives.weight
    keys = np.sort(positives.users * train.n_items + positives.items)
    if (keys[1:] == keys[:-1]).any():
        return "a positive pair more than once"
    if weight.shape != positives.users.shape or not ((weight >= 0) & (weight < np.inf)).all():
        return "positives whose weights are not one finite number from 0 up for each"
    probability = found.judged.probability
    if probability.shape != found.judged.users.shape or not ((probability >= 0) & (probability <= 1)).all():
        return "judged pairs whose probabilities are not one number in [0, 1] for each"
    rows = {f"view {view}": len(tree.digits) for view, tree in found.views.items()}
    if found.vectors is not None:
        rows["vectors"] = len(found.vectors)
        if not np.isfinite(found.vectors).all():
            return "vectors that hold NaN or infinity"
    if found.generated is not None and (problem := found.generated.problem()):
        return f"generated negatives with {problem}"
    return next(
        (f"{n} rows in {what}, for {train.n_items} items" for what, n in rows.items() if n != train.n_items), ""
    )
