"""What training is told beside the observed pairs: positives with weights, and pairs that are no negatives."""

from recbole_dtlns.guidance.contract import Guidance

__all__ = ["Guidance"]
