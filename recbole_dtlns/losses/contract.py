"""What takes the place of a model's BPR term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from recbole_dtlns.components import Component, ComponentConfig


class Loss(Component):
    """A loss in place of a model's BPR term. Subclass `RowLoss` and write `rows`, or `ListLoss` and write `lists`.

    Attributes:
        shares_negatives: all rows of a batch share their negatives, so that no sampler chooses any.
        takes_lists: a row of a batch is a user with all its items, so that no sampler chooses a negative, and no pair
            is added as a row.
        reads_judged: it looks at the judge's probabilities, which are then prepared.
    """

    shares_negatives: ClassVar[bool] = False
    takes_lists: ClassVar[bool] = False
    reads_judged: ClassVar[bool] = False


class RowLoss(Loss):
    """A loss over a row's own negatives."""

    def rows(
        self, positive: torch.Tensor, negatives: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss of every row; weighing and averaging rows is left to the caller.

        Args:
            positive: scores [B].
            negatives: scores [B, K].
            weights: of the negatives, v in [0, 1], [B, K]: 1 minus the probability that one is a false negative; None
                for ones.

        Returns:
            [B].
        """
        raise NotImplementedError


class SharedLoss(Loss):
    """A loss over negatives that all rows of a batch share. Subclass it and write `against` and `of`.

    What a row's negatives come to is computed once, and a row may have several positives.
    """

    shares_negatives = True

    @property
    def draws(self) -> int:
        """How many negatives are drawn per batch."""
        raise NotImplementedError

    def begin(self, n_items: int) -> None:
        """Learn of how many items negatives are drawn, once before training."""

    def against(
        self, negatives: torch.Tensor, log_weights: torch.Tensor, own: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the negatives of every row come to.

        Args:
            negatives: scores [B, S].
            log_weights: such that the weighted sum of any function of the negatives has the sum over all items that
                could be drawn as its expectation [B, S]; -inf leaves one out.
            own: scores of negatives that a row does not share, each of which counts once [B, K]; None for none.

        Returns:
            [B].
        """
        raise NotImplementedError

    def of(self, positive: torch.Tensor, against: torch.Tensor) -> torch.Tensor:
        """The loss of positives.

        Args:
            positive: scores [n].
            against: what `against` gave for their rows [n].

        Returns:
            [n].
        """
        raise NotImplementedError

    def rows(self, positive: torch.Tensor, negatives: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
        """The loss of every row with one positive [B]."""
        return self.of(positive, self.against(negatives, log_weights))


@dataclass(frozen=True, eq=False)
class Listed:
    """The items of one list of every row's user: the observed ones, or those that the judge named.

    Attributes:
        rows: the row of each entry, not descending, int64 [n]; a row may have none.
        scores: of the entries [n].
        probability: that the pair is a false negative, in (0, 1] [n]; None for observed ones.
    """

    rows: torch.Tensor
    scores: torch.Tensor
    probability: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Others:
    """The items that are in neither list of a row's user, or a draw of them that the batch shares.

    Attributes:
        scores: [B, C].
        left_out: columns that are in one of the row's lists, or are no item for it, bool [B, C].
        log_weights: of the columns [C], such that the weighted sum of any function of the items has the sum over all
            of them as its expectation; None where they are all there.
    """

    scores: torch.Tensor
    left_out: torch.Tensor
    log_weights: torch.Tensor | None = None


_MOST_USERS, _BATCHES = 1024, 8


class ListConfig(ComponentConfig):
    """Settings of what a loss over lists is given; subclass it for more."""

    prefix = "loss_"

    targets: int = Field(50, ge=1)
    """A user's judged items that are targets, those of the highest probability; dtlns_candidates are judged at most."""
    users: int = Field(0, ge=0)
    """Users in a batch, which takes the place of train_batch_size; 0: an eighth of all, at most 1,024, so that few
    users make several steps an epoch too."""
    items: int = Field(0, ge=0)
    """0: every user's list is the whole catalogue. Else its own items and so many draws that the batch shares, from
    dtlns_pool (uniform or popularity), with importance correction: for large catalogues."""

    def users_at_once(self, n_users: int) -> int:
        """Users in a batch, of so many."""
        return self.users or min(_MOST_USERS, max(1, n_users // _BATCHES))


class ListLoss(Loss):
    """A loss over the list of all items of a user: observed, named by the judge, and the others."""

    Config = ListConfig
    config: ListConfig
    takes_lists = True
    reads_judged = True

    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        """The loss of every row's user; averaging users is left to the caller.

        Every item of the catalogue is in one of the three, and in one alone.

        Args:
            observed: the user's train items.
            targets: unobserved items that the judge named, with its probabilities; users may have none.
            others: the rest.

        Returns:
            [B].
        """
        raise NotImplementedError
