"""A sampler that remembers: items per user that were hard before."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field

from recbole_dtlns.negatives.choosing.contract import Choice
from recbole_dtlns.negatives.choosing.hardest import HardestItem
from recbole_dtlns.negatives.choosing.tree_terms import TreeTermsConfig
from recbole_dtlns.negatives.contract import SamplerContext


class SRNS(HardestItem):
    """`srns` (Ding et al., NeurIPS 2020): a memory of items per user; those that score high and vary much are chosen.

    Per row, P_j = sigmoid(s(u, j) - s(u, p)) for the items j in u's memory, and the negative is
    argmax P_j + alpha * min(1, epoch / ramp) * std(P_j over the last epochs). Then the user's memory is resampled from
    itself and the newly drawn candidates, without replacement, with probabilities softmax(s / temperature).

    The published code pre-draws thousands of items per user to have past scores of them, and forgets the memory every
    epoch. Here past epochs' models are kept instead, which score any item exactly.
    """

    class Config(TreeTermsConfig):
        """The memory, what it calls hard, and tree terms."""

        prefix = "srns_"

        memory: int = Field(8, ge=1)
        """srns: items remembered per user."""
        alpha: float = Field(5.0, ge=0)
        """srns: weight of the variation over the last five epochs."""
        ramp: int = Field(50, ge=1)
        """srns: epochs until that weight is reached."""
        temperature: float = Field(10.0, gt=0)
        """srns: of the softmax by which items stay in the memory."""

    config: Config
    mixable = False
    reads_positive_scores = True
    remembers = True
    past_epochs = 5

    def begin(self, context: SamplerContext) -> None:
        """As `Sampler.begin`; nothing is remembered yet, which 0 says."""
        super().begin(context)
        self.memory = torch.zeros(context.n_users, self.config.memory, dtype=torch.long, device=context.device)

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
        column = super().select(remembered)
        self._resample(choice, size)
        return column

    def hardness(self, choice: Choice) -> torch.Tensor:
        """P_j and its variation, [B, n]."""
        hardness = torch.sigmoid(choice.scores - choice.scores_of_positives[:, None])
        if choice.past is not None:
            scores, positive = choice.past(choice.candidates)
            if len(scores) > 1:
                spread = torch.sigmoid(scores - positive[:, :, None]).std(dim=0)
                hardness = hardness + self.config.alpha * min(1.0, choice.epoch / self.config.ramp) * spread
        return hardness

    def _resample(self, choice: Choice, size: int) -> None:
        users, row = torch.unique(choice.users, return_inverse=True)
        first = torch.full_like(users, len(row)).scatter_reduce(
            0, row, torch.arange(len(row), device=row.device), "amin"
        )
        items, scores = choice.candidates[first], choice.scores[first]
        # The largest of log-probabilities with Gumbel noise are a draw without replacement.
        noise = -torch.empty_like(scores).exponential_().log()
        kept = (scores / self.config.temperature + noise).topk(size, dim=1).indices
        self.memory[users] = items.gather(1, kept)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"memory": self.memory}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.memory = state["memory"].to(self.memory.device)
