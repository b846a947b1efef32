"""What samplers of both kinds have in common: settings, traits, and what they are told before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import nn

from recbole_dtlns.components import Component
from recbole_dtlns.errors import ContractError
from recbole_dtlns.negatives.tree_views import TreeView

PastScores = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class GeneratedVectors(Protocol):
    """Looks up the negatives that were generated for train pairs.

    Attributes:
        dimension: length of a vector.
    """

    @property
    def dimension(self) -> int: ...

    def __call__(
        self, users: torch.Tensor, positives: torch.Tensor, uniform: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors [B, d] of rows of user and positive [B], and whether there is one, bool [B]; others are zeros.

        Where a pair has several, the row's number in [0, 1) says which it is.
        """
        ...


@dataclass(frozen=True)
class SamplerContext:
    """The run that a sampler begins.

    Attributes:
        n_users, n_items: number of ids, the padding id 0 included.
        device: of the model.
        views: similarity in each item tree, by the tree's name ("structure", "semantic"); empty where nothing was
            prepared.
        dimension: the model's embedding_size; None where it has no such setting.
        vectors: of every item id, as the method made them, zero for items that are not in train, float32 [n_items, d];
            None where it made none.
        generated: hard negatives of the train pairs, in the space of `vectors`; None where none were generated.
    """

    n_users: int
    n_items: int
    device: torch.device | str
    views: Mapping[str, TreeView] = field(default_factory=dict)
    dimension: int | None = None
    vectors: torch.Tensor | None = None
    generated: GeneratedVectors | None = None

    def view(self, name: str) -> TreeView:
        """The similarity in the tree of this name.

        Raises:
            ContractError: there is none.
        """
        if name not in self.views:
            raise ContractError(
                f"a sampler asks for the item tree '{name}', and there "
                + (
                    f"are only {', '.join(self.views)}"
                    if self.views
                    else "is none: set reads_trees = True on its class"
                )
            )
        return self.views[name]


class Sampler(Component):
    """Chooses or makes negatives. Subclass `ItemSampler` or `VectorSampler`.

    Attributes:
        draws_once: the negative is what was drawn, so that one candidate is enough.
        reads_trees: it looks at the item trees, which are then prepared.
        takes_tree_terms: its Config is a `TreeTermsConfig`, so that `dtlns_tree_terms` makes it read the trees.
        own_pool: name of the pool that its candidates come from, whatever `dtlns_pool` says; None for that one.
        remembers: it carries over from batch to batch what `module` does not hold, so that each of several processes
            would remember its own rows alone; such a run is refused.
        past_epochs: of how many past epochs it wants to see scores.
        module: what it learns together with the model, if anything; it is trained and saved as part of the model.
    """

    draws_once: ClassVar[bool] = False
    reads_trees: ClassVar[bool] = False
    takes_tree_terms: ClassVar[bool] = False
    own_pool: ClassVar[str | None] = None
    remembers: ClassVar[bool] = False
    past_epochs: int = 0
    module: nn.Module | None = None

    def check_candidates(self, most: float) -> None:
        """Refuse numbers of candidates that the sampler cannot choose from; called before any work.

        Args:
            most: candidates per negative in the epoch that has most.

        Raises:
            ConfigError: the message names the keys.
        """

    def begin(self, context: SamplerContext) -> None:
        """Called once, before the first batch."""

    def in_epoch(self, epoch: int) -> Sampler:
        """What is at work in an epoch (from 0): it, or a sampler that it is built on."""
        return self

    def propose(self, users: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The candidates [B, m] to be chosen from, given those drawn from the pool [B, n]."""
        return drawn

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What it has learnt from past batches, beside `module`; saved in checkpoints."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from a saved state."""

    def facts(self) -> dict[str, float]:
        """Figures on the choices since the last call, for the log."""
        return {}
