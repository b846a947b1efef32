"""What chooses, per training row, which of the drawn candidates becomes the negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from recbole_dtlns.errors import ContractError
from recbole_dtlns.negatives.contract import PastScores, Sampler


@dataclass(frozen=True)
class Choice:
    """What is chosen from: the candidates of a batch, scored by the model, without gradient.

    Attributes:
        users, positives: ids of the rows [B].
        candidates: candidate item ids [B, n].
        scores: of the candidates, float [B, n]; zeros unless the sampler reads scores.
        positive_scores: of the positives, float [B]; None unless the sampler asks for them.
        uniform: one number in [0, 1) per row, for samplers that choose at random [B].
        epoch: from 0.
        past: asks the model as it was after each of the last epochs for its scores of items [B, m]: returns theirs
            [epochs, B, m] and the positives' [epochs, B]. None unless the sampler asks for past epochs.
    """

    users: torch.Tensor
    positives: torch.Tensor
    candidates: torch.Tensor
    scores: torch.Tensor
    positive_scores: torch.Tensor | None = None
    uniform: torch.Tensor | None = None
    epoch: int = 0
    past: PastScores | None = None

    @property
    def scores_of_positives(self) -> torch.Tensor:
        """`positive_scores`, for samplers that asked for them.

        Raises:
            ContractError: the sampler did not ask.
        """
        if self.positive_scores is None:
            raise ContractError(
                "a sampler reads the positives' scores without asking for them: set reads_positive_scores = True on "
                "its class"
            )
        return self.positive_scores


class ItemSampler(Sampler):
    """Chooses one candidate per row. Subclass it, write `select`, and name the class in an entry point.

    Attributes:
        mixable: `dtlns_mixing` may mix the positive into what it chooses, layer by layer.
        reads_scores: whether it looks at scores; without, the model is not asked for any.
        reads_positive_scores: whether it looks at the positives' scores.
    """

    mixable: ClassVar[bool] = False
    reads_scores: ClassVar[bool] = True
    reads_positive_scores: ClassVar[bool] = False

    def select(self, choice: Choice) -> torch.Tensor:
        """Column of the chosen candidate per row, int64 [B]."""
        raise NotImplementedError
