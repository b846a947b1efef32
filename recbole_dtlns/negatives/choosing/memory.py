"""A sampler that remembers: items per user that were hard before."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch

from recbole_dtlns.negatives.choosing.selection import (
    Choice,
    HardSampler,
    NegativeSampler,
    SamplerContext,
    TreeTerms,
    terms_if_wanted,
)


class MemorySampler(NegativeSampler):
    """SRNS (Ding et al., NeurIPS 2020): a memory of items per user; those that score high and vary much are chosen.

    Per row, P_j = sigmoid(s(u, j) - s(u, p)) for the items j in u's memory, and the negative is
    argmax P_j + alpha * min(1, epoch / ramp) * std(P_j over the last epochs). Then the user's memory is resampled from
    itself and the newly drawn candidates, without replacement, with probabilities softmax(s / temperature).

    The published code pre-draws thousands of items per user to have past scores of them, and forgets the memory every
    epoch. Here past epochs' models are kept instead, which score any item exactly.

    Args:
        n_users: number of user ids.
        size: items in a user's memory.
        alpha, ramp, temperature: as above.
        terms: tree terms to be added; None for none.
        device: of the memory.
    """

    reads_positive_scores = True
    past_epochs = 5

    def __init__(
        self,
        n_users: int,
        size: int,
        alpha: float,
        ramp: int,
        temperature: float,
        terms: TreeTerms | None,
        device: torch.device | str,
    ) -> None:
        self.memory = torch.zeros(n_users, size, dtype=torch.long, device=device)  # 0: nothing remembered yet
        self.alpha, self.ramp, self.temperature = alpha, ramp, temperature
        self._hardest = HardSampler(self._hardness, terms)

    @classmethod
    def from_context(cls, context: SamplerContext) -> Self:
        settings = context.settings
        return cls(
            context.n_users,
            settings.srns_memory,
            settings.srns_alpha,
            settings.srns_ramp,
            settings.srns_temperature,
            terms_if_wanted(context),
            context.device,
        )

    def propose(self, users: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The user's memory and the newly drawn items; empty places of the memory are filled with drawn ones."""
        remembered = self.memory[users]
        size = remembered.shape[1]
        repeated = drawn.repeat(1, -(-size // drawn.shape[1]))[:, :size]
        return torch.cat([torch.where(remembered > 0, remembered, repeated), drawn], dim=1)

    def select(self, choice: Choice) -> torch.Tensor:
        """Column of the chosen item, which lies in the memory; afterwards the memory is resampled."""
        size = self.memory.shape[1]
        remembered = replace(choice, candidates=choice.candidates[:, :size], scores=choice.scores[:, :size])
        column = self._hardest.select(remembered)
        self._resample(choice, size)
        return column

    def _hardness(self, choice: Choice) -> torch.Tensor:
        assert choice.positive_scores is not None
        hardness = torch.sigmoid(choice.scores - choice.positive_scores[:, None])
        if choice.past is not None:
            scores, positive = choice.past(choice.candidates)
            if len(scores) > 1:
                spread = torch.sigmoid(scores - positive[:, :, None]).std(dim=0)
                hardness = hardness + self.alpha * min(1.0, choice.epoch / self.ramp) * spread
        return hardness

    def _resample(self, choice: Choice, size: int) -> None:
        users, row = torch.unique(choice.users, return_inverse=True)
        first = torch.full_like(users, len(row)).scatter_reduce(
            0, row, torch.arange(len(row), device=row.device), "amin"
        )
        items, scores = choice.candidates[first], choice.scores[first]
        # The largest of log-probabilities with Gumbel noise are a draw without replacement.
        noise = -torch.empty_like(scores).exponential_().log()
        kept = (scores / self.temperature + noise).topk(size, dim=1).indices
        self.memory[users] = items.gather(1, kept)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"memory": self.memory}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.memory = state["memory"].to(self.memory.device)

    def facts(self) -> dict[str, float]:
        return self._hardest.facts()
