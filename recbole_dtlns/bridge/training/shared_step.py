"""A training step that several processes share: each takes the loss of its own rows, and the gradients are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.loss import EmbLoss
from torch import nn

from recbole_dtlns.bridge.data.dataloader import DTLNSTrainDataLoader, EpochDataLoader
from recbole_dtlns.bridge.data.rows import rows_of
from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.models.propagation import deterministic_layers, forward_replaced
from recbole_dtlns.bridge.models.ranking_loss import bpr_term
from recbole_dtlns.bridge.training.training_step import Losses, LossFunction
from recbole_dtlns.errors import UnsupportedModelError
from recbole_dtlns.training.processes import Processes

_ROUNDING = 1e-3  # of a gradient's length, in float32


class SharedStep:
    """Wraps a loss: the mean of its gradients over the processes is the gradient of the loss of all rows.

    The value it returns is that of all rows, on every process. Before the first step of a run, the gradients of a batch
    in parts are compared with those of the whole: a loss that compares the rows of a batch with each other has others.

    Args:
        model: the RecBole model.
        loader: of the batches; ours makes this process's rows, RecBole's those of all.
        processes: this one among those of the run.
        make: makes the loss of a batch, for an epoch.
        checked: whether an earlier step of the run has been compared.
    """

    def __init__(
        self,
        model: AbstractRecommender,
        loader: Any,
        processes: Processes,
        make: Callable[[], LossFunction],
        checked: bool,
    ) -> None:
        if not isinstance(loader, AbstractDataLoader):
            raise UnsupportedModelError(
                f"{processes.size} processes share the rows of a batch, and those of {type(model).__name__} come from "
                f"a {type(loader).__name__}, which has other rows: leave nproc out"
            )
        if isinstance(loader, DTLNSTrainDataLoader) and loader.labelled:
            raise UnsupportedModelError(
                f"{processes.size} processes share equal blocks of a batch's rows, and where the data label rows, "
                "negatives are drawn for those that are liked alone: leave nproc or the labels out"
            )
        if _takes_norms_of_groups(model, loader):
            raise UnsupportedModelError(
                f"{type(model).__name__} weighs the rows of added positives in groups, each with a norm of its "
                f"embeddings (EmbLoss), and the rows of {processes.size} processes are not of the same groups: leave "
                "nproc out, or set dtlns_relabel_weight to 1 or dtlns_relabel_add to False"
            )
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
            raise UnsupportedModelError(
                f"{type(model).__name__} normalises by the mean of a batch's rows (BatchNorm), and each of "
                f"{processes.size} processes sees a part of them: leave nproc out"
            )
        self._model, self._loader, self._processes = model, loader, processes
        self._make, self._loss, self._checked = make, make(), checked
        self._sums = capability(type(model)).sums_rows
        self._batches = 0

    def __call__(self, interaction: Interaction) -> Losses:
        """The loss of one batch."""
        n_rows = min(self._loader.step, self._loader.sample_size - self._batches * self._loader.step)
        self._batches += 1
        share = self._processes.share(n_rows)
        if not isinstance(self._loader, EpochDataLoader):
            interaction = _of_blocks(interaction, share.rows, n_rows)
        weight = share.weight
        if self._sums and weight:
            weight = float(self._processes.size)
        if not self._checked:
            self._checked = True
            self._compare(interaction, share.rows.stop - share.rows.start, weight)
        with self._random_numbers_of_its_own(), whole_norms(self._model, self._processes, share.weight > 0):
            losses = self._loss(interaction)
        if isinstance(losses, tuple):
            return tuple(self._of_all_rows(loss * weight) for loss in losses)
        return self._of_all_rows(losses * weight)

    def _of_all_rows(self, loss: torch.Tensor) -> torch.Tensor:
        """The mean over processes as the value, and the gradient of this one's part."""
        return loss + (self._processes.mean(loss) - loss.detach())

    @contextmanager
    def _random_numbers_of_its_own(self) -> Iterator[None]:
        """Within the context, dropout draws other numbers in each process; after it, the state is that of all again."""
        seed = int(torch.randint(2**62, ()))
        with torch.random.fork_rng(self._devices()):
            torch.manual_seed(seed + self._processes.rank)
            yield

    def _devices(self) -> list[torch.device]:
        device = next(self._model.parameters()).device
        return [device] if device.type == "cuda" else []

    def _compare(self, interaction: Interaction, n_rows: int, weight: float) -> None:
        """Compare the gradients of a batch's parts with those of the whole.

        Raises:
            UnsupportedModelError: they are others.
        """
        parts = self._processes.of_all(
            {field: values.cpu() for field, values in interaction.interaction.items()} if weight else None
        )
        counts = self._processes.of_all(n_rows)
        given = [(part, count) for part, count in zip(parts, counts, strict=True) if part is not None]
        whole = Interaction({field: _joined([(part[field], n) for part, n in given]) for field in given[0][0]})
        device = next(self._model.parameters()).device
        own = Interaction(dict(interaction.interaction))
        with whole_norms(self._model, self._processes, weight > 0):
            in_parts = [self._processes.mean(weight * one) for one in self._gradients(own)]
        expected = self._gradients(whole.to(device))
        away = sum(_squared_length(one - other) for one, other in zip(in_parts, expected, strict=True))
        length = sum(map(_squared_length, expected))
        if away > _ROUNDING**2 * length:
            raise UnsupportedModelError(
                f"the loss of {type(self._model).__name__} for a batch in {self._processes.size} parts is another than "
                "for the whole: it compares the batch's rows with each other, or draws random numbers for them. Leave "
                "nproc out"
            )

    def _gradients(self, interaction: Interaction) -> list[torch.Tensor]:
        """Of every parameter, without dropout of rows; dropout of a whole graph draws the same every time."""
        parameters = [one for one in self._model.parameters() if one.requires_grad]
        with ExitStack() as same:
            same.enter_context(torch.random.fork_rng(self._devices()))
            same.enter_context(deterministic_layers(self._model))
            same.enter_context(torch.autocast(next(self._model.parameters()).device.type, enabled=False))
            torch.manual_seed(0)
            losses = self._make()(interaction)
            loss = torch.stack([one.sum() for one in (losses if isinstance(losses, tuple) else (losses,))]).sum()
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(parameters, found, strict=True)
        ]


def _takes_norms_of_groups(model: AbstractRecommender, loader: Any) -> bool:
    """Whether rows of different weights have losses of their own, in which processes would wait for each other."""
    weighs = isinstance(loader, DTLNSTrainDataLoader) and loader.weighs_differently
    return weighs and bpr_term(model) is None and any(isinstance(module, EmbLoss) for module in model.modules())


def _squared_length(gradient: torch.Tensor) -> float:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(values.square().sum())


def _of_blocks(interaction: Interaction, rows: slice, n_rows: int) -> Interaction:
    """Those rows of each of a batch's blocks of n_rows."""
    places = torch.arange(len(interaction)).view(-1, n_rows)[:, rows].reshape(-1)
    return rows_of(interaction, places)


def _joined(parts: list[tuple[torch.Tensor, int]]) -> torch.Tensor:
    """The blocks of a whole batch, given those of its parts and how many rows a block of each has."""
    blocks = [values.view(-1, n_rows, *values.shape[1:]) for values, n_rows in parts]
    return torch.cat(blocks, dim=1).flatten(0, 1)


@contextmanager
def whole_norms(model: nn.Module, processes: Processes, counts: bool) -> Iterator[None]:
    """Within the context, RecBole's `EmbLoss` without `require_pow` is of the embeddings of all processes.

    It is the length of all of a batch's embeddings as one vector, over the number of rows, and no mean over rows. Each
    process's part of it is such that value and gradient of their sum are those of the whole.

    Args:
        model: holds the terms.
        processes: this one among those of the run.
        counts: whether its rows are among those of the batch.
    """

    def whole_norm(module: EmbLoss) -> Callable[..., torch.Tensor]:
        def norm(original: Callable[..., torch.Tensor], *embeddings: torch.Tensor, require_pow: bool = False) -> Any:
            if require_pow:
                return original(*embeddings, require_pow=True)
            powers = torch.stack([embedding.abs().pow(module.norm).sum() for embedding in embeddings])
            scale = processes.total(counts * powers).clamp_min(torch.finfo(powers.dtype).tiny) ** (1 / module.norm - 1)
            value = powers.detach() + (powers - powers.detach()) / module.norm
            return (scale * value).sum().reshape(1) / embeddings[-1].shape[0]

        return norm

    with ExitStack() as replaced:
        for module in model.modules():
            if isinstance(module, EmbLoss):
                replaced.enter_context(forward_replaced(module, whole_norm(module)))
        yield
