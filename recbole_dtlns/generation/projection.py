"""Collaborative alignment without a language model: a small network names, in the space of texts, a hard negative."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.errors import DataError
from recbole_dtlns.generation.contract import GenerationTask, Generator
from recbole_dtlns.generation.profiles import user_profiles
from recbole_dtlns.guidance.generated import GeneratedNegatives, JoinedVectors
from recbole_dtlns.numerics.counter_random import counter_uniform
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.storage.sealed_arrays import Arrays

_ROWS_AT_ONCE = 8192


class Projection(Generator):
    """`projection`: q(u, p) = f([e_u; profile_u]) + g([e_p; text_p]), learnt on train pairs.

    Minimised is the in-batch pairwise loss of HNLMRec's collaborative fine-tuning (arXiv 2504.05050): the mean over i,
    j of -log sigmoid((cos(q_i, hard_i) - cos(q_i, p_j)) / temperature). There q is a language model's. It is drawn to
    the text vector of a hard negative, and kept away from those of the interacted items. hard_i is, of the items that
    the teacher ranks high and the judge calls no false negatives, one at random in every epoch; users of whom none is
    known are not learnt from. e_p is the teacher's vector of the item, e_u the mean of the user's.

    Because f and g are added, the vectors of all pairs take the memory of one for each user and each item.
    """

    learns = True

    class Config(ComponentConfig):
        """The network, and how it learns."""

        prefix = "hnlmrec_projection_"

        hidden: int = Field(128, ge=1)
        """projection: width of the hidden layer of the network."""
        epochs: int = Field(5, ge=1)
        """projection: epochs over the train pairs."""
        batch_size: int = Field(512, ge=2)
        """projection: pairs in a step; each is compared with the interacted items of all."""
        learning_rate: float = Field(1e-3, gt=0)
        """projection: of Adam."""
        temperature: float = Field(0.05, gt=0)
        """projection: divides the differences of cosines."""
        seed: Seed = 42

    config: Config
    version = 1

    def inputs(self) -> dict[str, Any]:
        return {"generator": "projection", **self.config.model_dump()}

    def generate(self, task: GenerationTask) -> tuple[Arrays, dict[str, Any]]:
        """Both parts as float16 [n_users, d] and [n_items, d], and the loss of the first and the last epoch.

        Raises:
            DataError: the judge left no hard negative to learn from.
        """
        train = task.train
        users, items = train.histories()
        start, hard = _hard_by_user(task)
        pairs = np.flatnonzero(start[users + 1] > start[users])
        if len(pairs) < 2:
            raise DataError(
                "dtlns_hnlmrec_generator: projection learns from items that the teacher ranks high and the judge calls "
                f"no false negatives, and there are {len(hard)}: raise dtlns_candidates, choose another dtlns_judge, "
                "or set dtlns_hnlmrec_generator to rule"
            )
        of_users = np.hstack([unit_rows(train.narrow @ task.item_vectors), user_profiles(train, task.vectors)])
        of_items = np.hstack([unit_rows(task.item_vectors), task.vectors])
        with _reproducible(self.config.seed):
            network = _Towers(of_users.shape[1], of_items.shape[1], self.config.hidden, task.vectors.shape[1])
            losses = [
                self._epoch(epoch, network, (of_users, of_items, task.vectors), (users, items, start, hard), pairs)
                for epoch in self._told(task)
            ]
            parts = [_outputs(network.users, of_users), _outputs(network.items, of_items)]
        facts = {"loss_first": losses[0], "loss_last": losses[-1], "learnt_from": len(pairs)}
        return {"of_users": parts[0].astype(np.float16), "of_items": parts[1].astype(np.float16)}, facts

    def restored(self, arrays: Arrays, task: GenerationTask) -> GeneratedNegatives:
        return JoinedVectors(task.train, arrays["of_users"], arrays["of_items"])

    def _told(self, task: GenerationTask) -> Iterator[int]:
        pairs, epochs = task.train.matrix.nnz, self.config.epochs
        for epoch in range(epochs):
            yield epoch
            task.progress(pairs * (epoch + 1) // epochs - pairs * epoch // epochs)

    def _epoch(
        self,
        epoch: int,
        network: _Towers,
        known: tuple[np.ndarray, np.ndarray, np.ndarray],
        data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
        pairs: np.ndarray,
    ) -> float:
        """One pass over the pairs; returns the mean loss."""
        of_users, of_items, vectors = known
        users, items, start, hard = data
        draws = counter_uniform(self.config.seed, epoch, pairs, 2)
        lengths = start[users[pairs] + 1] - start[users[pairs]]
        drawn = hard[start[users[pairs]] + (draws[:, 0] * lengths).astype(np.int64)]
        order = np.argsort(draws[:, 1], kind="stable")
        total, count = 0.0, 0
        for first in range(0, len(order), self.config.batch_size):
            batch = order[first : first + self.config.batch_size]
            if len(batch) < 2:
                break
            rows = pairs[batch]
            wanted, away = (torch.as_tensor(vectors[which]) for which in (drawn[batch], items[rows]))
            query = network(torch.as_tensor(of_users[users[rows]]), torch.as_tensor(of_items[items[rows]]))
            query = functional.normalize(query, dim=1)
            difference = (query * wanted).sum(dim=1, keepdim=True) - query @ away.T
            loss = functional.softplus(-difference / self.config.temperature).mean()
            network.step(loss, self.config.learning_rate)
            total, count = total + float(loss.detach()) * len(batch), count + len(batch)
        return total / max(count, 1)


class _Towers(nn.Module):
    """f and g, and the optimizer of both."""

    def __init__(self, of_users: int, of_items: int, hidden: int, dimension: int) -> None:
        super().__init__()
        self.users, self.items = (
            nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, dimension))
            for size in (of_users, of_items)
        )
        self._optimizer: torch.optim.Optimizer | None = None

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.users(users) + self.items(items)
        return joined

    def step(self, loss: torch.Tensor, learning_rate: float) -> None:
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


@torch.no_grad()
def _outputs(tower: nn.Module, rows: np.ndarray) -> np.ndarray:
    parts = [tower(torch.as_tensor(rows[at : at + _ROWS_AT_ONCE])) for at in range(0, len(rows), _ROWS_AT_ONCE)]
    return torch.cat(parts).numpy()


def _hard_by_user(task: GenerationTask) -> tuple[np.ndarray, np.ndarray]:
    """The hard items of all users one after the other, and where each user's begin, int64 [n_users + 1].

    Items of which nothing is known in the space cannot be drawn to.
    """
    users, items = task.hard
    told = task.vectors[items].any(axis=1)
    users, items = users[told], items[told]
    return np.append(0, np.cumsum(np.bincount(users, minlength=task.train.n_users))), items


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread, whose sums have one order, and a generator of its own."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
