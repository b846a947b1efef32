"""Negatives mixed with their positive."""

from __future__ import annotations

from typing import Any

import torch

from recbole_dtlns.negatives.choosing.contract import Choice
from recbole_dtlns.negatives.choosing.hardest import DNS
from recbole_dtlns.negatives.choosing.tree_terms import TreeTermsConfig
from recbole_dtlns.negatives.products import candidate_scores
from recbole_dtlns.negatives.vectors.by_rule import VectorsByRule
from recbole_dtlns.negatives.vectors.contract import LayerChoice, LayerNegatives, VectorSampler


class MixingSampler(VectorsByRule):
    """Positive mixing and hop mixing (MixGCF, Huang et al., KDD 2021), with any rule for what is hard.

    Per row and layer h: e~_j = a e_p + (1 - a) e_j with a ~ U(0, 1), scores <u, e~_j>, the hardest j of that layer, and
    the negative's layer h is its e~_j. The choice has no gradient, the mixed vector has.

    Args:
        rule: chooses per layer, and is `mixable`; it sees the scores of the mixed candidates.
    """

    def negatives(self, choice: LayerChoice) -> LayerNegatives:
        """As `VectorSampler.negatives`."""
        made, items_chosen = [], []
        for layer, (user, items) in enumerate(zip(choice.scoring_users(), choice.item_layers, strict=True)):
            share = choice.mixing[:, layer : layer + 1]
            positive = items[choice.positives]
            with torch.no_grad():
                positive_scores = (user * positive).sum(dim=1)
                scores = candidate_scores(user, items, choice.candidates)
                mixed = share * positive_scores[:, None] + (1 - share) * scores
                column = self.rule.select(
                    Choice(
                        choice.users,
                        choice.positives,
                        choice.candidates,
                        mixed,
                        positive_scores,
                        choice.uniform,
                        choice.epoch,
                        choice.past,
                    )
                )
            chosen = choice.candidates.gather(1, column[:, None]).squeeze(1)
            made.append(share * positive + (1 - share) * items[chosen])
            items_chosen.append(chosen)
        return LayerNegatives(made, torch.stack(items_chosen, dim=1))


class MixGCF(MixingSampler):
    """`mixgcf`: `dns`, mixed."""

    class Config(TreeTermsConfig):
        """Tree terms."""

    takes_tree_terms = True

    def __init__(self, config: TreeTermsConfig | None = None, /, **fields: Any) -> None:
        VectorSampler.__init__(self, config, **fields)
        self.rule = DNS(**dict(iter(self.config)))
