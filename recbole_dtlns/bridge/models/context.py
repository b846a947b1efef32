"""RecBole's context-aware recommenders, and what DTL-NS can do for each."""

from __future__ import annotations

from recbole_dtlns.bridge.models.capability import Capability

_FEATURES = "scores by features together, not by the product of two vectors"
_TREES = "is made of boosted trees, fitted once to the labels of all rows: no negatives are sampled"


def _learns_labels(why: str = "") -> Capability:
    return Capability(True, False, why, no_layers=_FEATURES, labels=True)


# Of RecBole's type DECISIONTREE. Their trainers are none of RecBole's loop, and pickle what they make.
DECISION_TREES: dict[str, Capability] = {
    "LightGBM": Capability(False, False, _TREES),
    "XGBoost": Capability(False, False, _TREES),
}
CONTEXT: dict[str, Capability] = {
    "AFM": _learns_labels(),
    "AutoInt": _learns_labels(),
    "DCN": _learns_labels(),
    "DCNV2": _learns_labels(),
    "DSSM": _learns_labels("reads no features of rows: a tower for the user, and one for the item"),
    "DeepFM": _learns_labels(),
    "EulerNet": _learns_labels(),
    "FFM": _learns_labels(),
    "FM": _learns_labels(),
    "FNN": _learns_labels(),
    "FiGNN": _learns_labels(),
    "FwFM": _learns_labels(),
    "KD_DAGFM": _learns_labels("in each of its phases; the later ones begin with a run's `best.pth` (`warm_up`)"),
    "LR": _learns_labels(),
    "NFM": _learns_labels(),
    "PNN": _learns_labels(),
    "WideDeep": _learns_labels(),
    "xDeepFM": _learns_labels(),
    **DECISION_TREES,
}
