"""RecBole's general recommenders, and what DTL-NS can do for each."""

from __future__ import annotations

from typing import Any

from recbole_dtlns.bridge.models.capability import Capability, Layers, no_arguments


def _train_graph(model: Any) -> tuple[Any, ...]:
    return (model.train_graph,)


_NO_NEGATIVES = "trains on whole user histories; its loss has no negative items"
_NETWORK = "scores by a network, not by the product of two vectors"
_HISTORY = "makes the user's vector from the history's items"
_LOSSES_BY_STEP = ("Lt_history", "Lt_count")
_CLOSED_FORM = "fitted to the matrix without sampled negatives"
_SIMILARITY, _PREDICTIONS = ("interaction_matrix", "item_similarity"), ("pred_mat",)

GENERAL: dict[str, Capability] = {
    "ADMMSLIM": Capability(False, True, _CLOSED_FORM),
    "AsymKNN": Capability(False, True, _CLOSED_FORM, fitted=_PREDICTIONS),
    "BPR": Capability(True, False, layers=Layers("mean"), bpr_term=True),
    "CDAE": Capability(False, True, _NO_NEGATIVES),
    "ConvNCF": Capability(True, False, no_layers=_NETWORK, sums_rows=True),
    "DGCF": Capability(True, True, layers=Layers("mean", no_arguments), bpr_term=True),
    "DMF": Capability(True, True, no_layers=_NETWORK),
    "DiffRec": Capability(False, True, _NO_NEGATIVES, _LOSSES_BY_STEP),
    "EASE": Capability(False, True, _CLOSED_FORM, fitted=_SIMILARITY),
    "ENMF": Capability(False, True, "weighs all unobserved items instead of drawing some"),
    "FISM": Capability(True, True, no_layers=_HISTORY),
    "GCMC": Capability(True, True, no_layers="scores by several bilinear forms"),
    "ItemKNN": Capability(False, True, _CLOSED_FORM, fitted=_PREDICTIONS),
    "LDiffRec": Capability(False, True, _NO_NEGATIVES, (*_LOSSES_BY_STEP, "update_count", "update_count_vae")),
    "LINE": Capability(
        True,
        True,
        "half of its batches draw negative users instead",
        ("random_list", "random_pr"),
        no_layers="its second order has item vectors of another kind",
    ),
    "LightGCN": Capability(True, True, layers=Layers("mean", no_arguments), bpr_term=True),
    "MacridVAE": Capability(False, True, _NO_NEGATIVES, ("update",)),
    "MultiDAE": Capability(False, True, _NO_NEGATIVES),
    "MultiVAE": Capability(False, True, _NO_NEGATIVES, ("update",)),
    "NAIS": Capability(True, True, no_layers=_HISTORY),
    "NCEPLRec": Capability(False, True, _CLOSED_FORM),
    "NCL": Capability(True, True, "needs the package faiss-cpu", layers=Layers("mean", no_arguments), bpr_term=True),
    "NGCF": Capability(True, True, layers=Layers("concat", no_arguments), bpr_term=True),
    "NNCF": Capability(True, True, no_layers=_NETWORK),
    "NeuMF": Capability(True, False, no_layers=_NETWORK),
    "Pop": Capability(False, False, "counts the item column, negatives included: hard negatives would become popular"),
    "RaCT": Capability(False, True, _NO_NEGATIVES, ("update",)),
    "Random": Capability(False, False, "does not learn"),
    "RecVAE": Capability(False, True, _NO_NEGATIVES),
    "SGL": Capability(True, True, layers=Layers("mean", _train_graph), sums_rows=True),
    "SLIMElastic": Capability(False, True, _CLOSED_FORM, fitted=_SIMILARITY),
    "SimpleX": Capability(True, True, no_layers=_HISTORY),
    "SpectralCF": Capability(True, True, layers=Layers("concat", no_arguments), bpr_term=True),
}
