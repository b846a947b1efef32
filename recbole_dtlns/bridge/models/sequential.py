"""RecBole's sequential recommenders, and what DTL-NS can do for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from recbole_dtlns.bridge.models.capability import PAIRWISE, SOFTMAX, Capability

_OWN_SOFTMAX = "makes probabilities of its own, so there is no softmax over scores to change"
_LABELS = "learns labels, of the row's item and of negatives"
_NETWORK = "scores by a network, not by the product of two vectors"


def _item_embedding(model: Any) -> torch.Tensor:
    return model.item_embedding.weight


def _for_prediction(model: Any) -> torch.Tensor:
    return model.item_embedding_for_prediction.weight


def _rectified(model: Any) -> torch.Tensor:
    return model.relu(model.item_embedding.weight)


def _with_entities(model: Any) -> torch.Tensor:
    return model.dense_layer_i(torch.cat((model.item_embedding.weight, model.entity_embedding.weight), -1))


def _both_forms(
    items: Callable[[Any], torch.Tensor] | None = _item_embedding,
    why: str = "",
    no_layers: str = "makes vectors of sequences, and none of users",
    stage: tuple[str, str] | None = None,
    reads_users: bool = False,
) -> Capability:
    return Capability(
        True,
        False,
        why,
        no_layers=no_layers,
        bpr_term=True,
        forms=(SOFTMAX, PAIRWISE),
        sequence_items=items,
        stage=stage,
        reads_users=reads_users,
    )


def _none_of_them(why: str) -> Capability:
    return Capability(False, False, why)


_RANKED_AGAIN = ("n_facet_reranker", "reranker_CAN_NUM")
SEQUENTIAL: dict[str, Capability] = {
    "BERT4Rec": _none_of_them("learns masked places of a sequence, with a loss that it makes anew in every step"),
    "CORE": Capability(False, False, "has no form with negatives", forms=(SOFTMAX,)),
    "Caser": _both_forms(reads_users=True),
    "DIEN": Capability(
        True, False, _LABELS, no_layers=_NETWORK, reads_users=True, reads_drawn_sequences=True, labels=True
    ),
    "DIN": Capability(True, False, _LABELS, no_layers=_NETWORK, reads_users=True, labels=True),
    "FDSA": _both_forms(),
    "FEARec": _both_forms(),
    "FOSSIL": _both_forms(reads_users=True),
    "FPMC": Capability(
        True,
        False,
        no_layers="scores by the sum of two products",
        bpr_term=True,
        forms=(PAIRWISE,),
        reads_users=True,
    ),
    "GCSAN": _both_forms(),
    "GRU4Rec": _both_forms(),
    "GRU4RecCPR": Capability(False, False, _OWN_SOFTMAX, shortlists=_RANKED_AGAIN),
    "GRU4RecF": _both_forms(),
    "GRU4RecKG": _both_forms(why="needs vectors of entities (`ent_emb`) beside the data set"),
    "HGN": _both_forms(
        _for_prediction, "scores negatives of its pairwise form by other vectors than it ranks by", reads_users=True
    ),
    "HRM": _both_forms(reads_users=True),
    "KSR": _both_forms(_with_entities, why="needs vectors of entities and relations beside the data set"),
    "LightSANs": _both_forms(),
    "NARM": _both_forms(),
    "NPE": _both_forms(_rectified, reads_users=True),
    "NextItNet": _both_forms(),
    "RepeatNet": _none_of_them(_OWN_SOFTMAX),
    "S3Rec": _both_forms(
        None,
        why="in its second stage (`train_stage: finetune`)",
        no_layers="makes the vector of a sequence outside its `forward`",
        stage=("train_stage", "finetune"),
    ),
    "SASRec": _both_forms(),
    "SASRecCPR": Capability(False, False, _OWN_SOFTMAX, shortlists=_RANKED_AGAIN),
    "SASRecF": _both_forms(),
    "SHAN": _both_forms(why="is trained by the inverse of the sequence that RecBole ranks by", reads_users=True),
    "SINE": _both_forms(),
    "SRGNN": _both_forms(),
    "STAMP": _both_forms(),
    "TransRec": Capability(
        True,
        False,
        no_layers="scores by a distance, not by the product of two vectors",
        bpr_term=True,
        forms=(PAIRWISE,),
        reads_users=True,
    ),
}
