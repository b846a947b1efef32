"""A softmax over whole lists, taught by a judge's probabilities."""

from __future__ import annotations

import torch
from pydantic import Field

from recbole_dtlns.errors import ContractError
from recbole_dtlns.losses.contract import ListConfig, Listed, ListLoss, Others
from recbole_dtlns.losses.list_sums import log_sum, log_sum_of_others, mean_by_row
from recbole_dtlns.losses.row_losses import Temperature


class Listwise(ListLoss):
    """`listwise`: the user's unobserved items are ranked as the judge ranks them, and the observed ones among all.

    Cross-entropy of softmax(scores / temperature) over all unobserved items to the judge's probabilities of its first
    items, raised to 1 / target temperature and normalised (ListNet's top-one loss, Cao et al., ICML 2007, with a
    teacher's list as in ranking distillation), plus a share of the mean over the observed items of -log softmax over
    all items. No negative is sampled. Users of whom nothing was judged keep the second part alone.
    """

    class Config(ListConfig):
        """Its temperatures, and what the observed items weigh beside the judge."""

        temperature: Temperature = 1.0
        observed: float = Field(0.3, ge=0)
        """Weight of the observed items' cross-entropy; the judge's weighs 1."""
        target_temperature: float = Field(1.0, gt=0)
        """The judge's probabilities are raised to 1 over this before they are normalised: below 1, its first items
        count for more."""

    config: Config

    def lists(self, observed: Listed, targets: Listed, others: Others) -> torch.Tensor:
        """As `ListLoss.lists`."""
        if targets.probability is None:
            raise ContractError("the targets of a loss over lists have the judge's probabilities, and these have none")
        n_rows, temperature = len(others.scores), self.config.temperature
        own, named = observed.scores / temperature, targets.scores / temperature
        unobserved = torch.logaddexp(log_sum_of_others(others, temperature), log_sum(targets.rows, named, n_rows))
        everything = torch.logaddexp(unobserved, log_sum(observed.rows, own, n_rows))
        # A power of a small probability would vanish; its logarithm does not.
        wanted = targets.probability.log() / self.config.target_temperature
        share = (wanted - log_sum(targets.rows, wanted, n_rows)[targets.rows]).exp()
        taught = torch.zeros_like(unobserved).index_add(0, targets.rows, share * (unobserved[targets.rows] - named))
        return taught + self.config.observed * mean_by_row(observed.rows, everything[observed.rows] - own, n_rows)
