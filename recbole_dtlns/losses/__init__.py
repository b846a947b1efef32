"""What training minimises: ranking losses over several negatives, shared negatives, weights of doubtful ones."""

from recbole_dtlns.losses.contract import RowLoss, SharedLoss

__all__ = ["RowLoss", "SharedLoss"]
