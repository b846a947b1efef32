"""Some rows of a batch."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction


def rows_of(batch: Interaction, which: torch.Tensor | slice) -> Interaction:
    """Those rows, every column of them.

    RecBole's own indexing makes a list of numbers of the places, for every batch.

    Args:
        batch: of B rows.
        which: places, a mask of B, or a slice.
    """
    return Interaction({column: values[which] for column, values in batch.interaction.items()})
