"""Items of every user that a batch's rows are taught beside their own, or that leave their negatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from recbole_dtlns.data.item_sets import PairSet, PseudoPositives
from recbole_dtlns.numerics.groups import expanded


@dataclass(frozen=True, eq=False)
class Entries:
    """Items of a batch's rows.

    Attributes:
        rows, items: of every entry, by row, int64 [n].
        weight: of the entries, float32 [n].
    """

    rows: torch.Tensor
    items: torch.Tensor
    weight: torch.Tensor


class ItemsOfUsers:
    """The items of every user, in one id space, looked up for the users of a batch.

    Args:
        pairs: of user and item; pseudo-positives have weights, others weigh 1.
        n_users: number of user ids.
    """

    def __init__(self, pairs: PairSet, n_users: int) -> None:
        weight = pairs.weight if isinstance(pairs, PseudoPositives) else np.ones(len(pairs))
        self._items, self._weight = pairs.items, weight.astype(np.float32)
        self._start = np.searchsorted(pairs.users, np.arange(n_users + 1))

    def __len__(self) -> int:
        return len(self._items)

    def of(self, users: torch.Tensor) -> Entries:
        """Those of the users of a batch [B], on their device."""
        rows, places = expanded(self._start, users.cpu().numpy())
        found = (rows, self._items[places], self._weight[places])
        return Entries(*(torch.as_tensor(values, device=users.device) for values in found))


def softmax_over_all(scores: torch.Tensor, targets: torch.Tensor, further: Entries, left_out: Entries) -> torch.Tensor:
    """The cross-entropy of every row's targets among the items that are none of them, and not left out [B].

    A further target counts as if the row stood there again with it, and with its weight. Without any, and with nothing
    left out, it is the cross-entropy of RecBole's sequential models.

    Args:
        scores: of all items [B, n].
        targets: of the rows [B].
        further: targets of weight w.
        left_out: items that are no negatives.
    """
    own = torch.arange(len(scores), device=scores.device)
    rows = torch.cat([own, further.rows, left_out.rows])
    items = torch.cat([targets, further.items, left_out.items])
    # -inf itself would make the gradient of a row in which all are left out NaN instead of zero.
    least = torch.full((), torch.finfo(scores.dtype).min, dtype=scores.dtype, device=scores.device)
    against = scores.index_put((rows, items), least).logsumexp(dim=1)
    losses = functional.softplus(against - scores[own, targets])
    more = functional.softplus(against[further.rows] - scores[further.rows, further.items])
    return losses.index_add(0, further.rows, further.weight.to(scores.dtype) * more)
