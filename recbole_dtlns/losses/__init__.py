"""What training minimises: ranking losses over negatives or whole lists, shared negatives, further targets, weights."""

from recbole_dtlns.losses.contract import ListConfig, Listed, ListLoss, Others, RowLoss, SharedLoss

__all__ = ["ListConfig", "ListLoss", "Listed", "Others", "RowLoss", "SharedLoss"]
