"""Collaborative alignment without a language model: a small network names, in the space of texts, a hard negative."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from recbole_dtlns.components import Seed, SharedKey
from recbole_dtlns.generation.contract import GenerationTask, Generator
from recbole_dtlns.generation.hard_items import HardItems, LearningConfig, hard_items
from recbole_dtlns.generation.in_batch_loss import in_batch_loss
from recbole_dtlns.generation.matching import nearest_free
from recbole_dtlns.generation.profiles import user_profiles
from recbole_dtlns.guidance.generated import GeneratedNegatives, JoinedVectors, MatchedItems
from recbole_dtlns.numerics.counter_random import counter_uniform
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.storage.sealed_arrays import Arrays

_ROWS_AT_ONCE = 8192


class Projection(Generator):
    """`projection`: q(u, p) = f([e_u; profile_u]) + g([e_p; text_p]), learnt on train pairs.

    Minimised is the in-batch pairwise loss of HNLMRec's collaborative fine-tuning (arXiv 2504.05050): the mean over i,
    j of -log sigmoid((cos(q_i, hard_i) - cos(q_i, p_j)) / temperature). There q is a language model's. It is drawn to
    the text vector of a hard negative, and kept away from those of the interacted items. hard_i is, in every epoch, one
    at random of the pair's hard items (`learn_from`); pairs that have none are not learnt from. e_p is the teacher's
    vector of the item, e_u the mean of the user's.

    Real items stand for q, as it lies between the items that it was drawn to, where the user's own lie, too: as
    negatives, such vectors cost accuracy. Because f and g are added, the vectors of all pairs would take the memory
    of one for each user and each item.
    """

    learns = True

    class Config(LearningConfig):
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
        match: Literal["items", "vector"] = "items"
        """projection: the negative is one of the real items nearest to q that the user has not and that are no false
        negatives (items), or q itself (vector), which lies between such items, and so near to what the user has."""
        items: Annotated[int, SharedKey("hnlmrec_items")] = Field(4, ge=1)
        """rule, llm, projection: real items matched to every train pair at most; every epoch a row meets one of
        them."""
        seed: Seed = 42

    config: Config
    version = 2

    def inputs(self) -> dict[str, Any]:
        return {"generator": "projection", **self.config.model_dump()}

    def generate(self, task: GenerationTask) -> tuple[Arrays, dict[str, Any]]:
        """Items int32 [n_pairs, k], or both parts as float16 [n_users, d] and [n_items, d]; and first and last loss.

        Raises:
            DataError: there is no hard negative to learn from.
        """
        train = task.train
        users, items = train.histories()
        quiet = replace(task, progress=lambda pairs: None)
        hard = hard_items(quiet, self.config.learn_from, "dtlns_hnlmrec_generator: projection")
        pairs = hard.pairs
        of_users = np.hstack([unit_rows(train.matrix @ task.item_vectors), user_profiles(train, task.vectors)])
        of_items = np.hstack([unit_rows(task.item_vectors), task.vectors])
        with _reproducible(self.config.seed):
            network = _Towers(of_users.shape[1], of_items.shape[1], self.config.hidden, task.vectors.shape[1])
            losses = [
                self._epoch(epoch, network, (of_users, of_items, task.vectors), (users, items, hard))
                for epoch in self._told(task)
            ]
            parts = [_outputs(network.users, of_users), _outputs(network.items, of_items)]
        facts = {"loss_first": losses[0], "loss_last": losses[-1], "learnt_from": len(pairs)}
        if self.config.match == "items":

            def wanted(rows: slice) -> np.ndarray:
                return unit_rows(parts[0][users[rows]] + parts[1][items[rows]])

            return {"items": nearest_free(quiet, wanted, self.config.items)}, facts
        return {"of_users": parts[0].astype(np.float16), "of_items": parts[1].astype(np.float16)}, facts

    def restored(self, arrays: Arrays, task: GenerationTask) -> GeneratedNegatives:
        if "items" in arrays:
            return MatchedItems(task.train, arrays["items"], task.vectors)
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
        data: tuple[np.ndarray, np.ndarray, HardItems],
    ) -> float:
        """One pass over the pairs; returns the mean loss."""
        of_users, of_items, vectors = known
        users, items, hard = data
        pairs = hard.pairs
        draws = counter_uniform(self.config.seed, epoch, pairs, 2)
        drawn = hard.draw(pairs, draws[:, 0])
        order = np.argsort(draws[:, 1], kind="stable")
        total, count = 0.0, 0
        for first in range(0, len(order), self.config.batch_size):
            batch = order[first : first + self.config.batch_size]
            if len(batch) < 2:
                break
            rows = pairs[batch]
            wanted, away = (torch.as_tensor(vectors[which]) for which in (drawn[batch], items[rows]))
            query = network(torch.as_tensor(of_users[users[rows]]), torch.as_tensor(of_items[items[rows]]))
            loss = in_batch_loss(query, wanted, away, self.config.temperature)
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
