"""The losses by name."""

from __future__ import annotations

from recbole_dtlns.losses.contract import Loss
from recbole_dtlns.losses.gbce import GBCE
from recbole_dtlns.losses.listwise import Listwise
from recbole_dtlns.losses.row_losses import BPR, Hinge, Softmax, SumExp
from recbole_dtlns.losses.sampled_softmax import SampledSoftmax
from recbole_dtlns.registry import Registry

LOSSES: Registry[Loss] = Registry(
    "loss",
    "recbole_dtlns.losses",
    {
        "bpr": BPR,
        "hinge": Hinge,
        "sum_exp": SumExp,
        "softmax": Softmax,
        "sampled_softmax": SampledSoftmax,
        "gbce": GBCE,
        "listwise": Listwise,
    },
)
