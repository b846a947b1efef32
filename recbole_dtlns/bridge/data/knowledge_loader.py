"""Training loaders of knowledge models: interactions, and facts with entities that are none, together or by turns."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from typing import Any

import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataloader.knowledge_dataloader import KGDataLoader, KnowledgeBasedDataLoader
from recbole.data.dataset import KnowledgeBasedDataset
from recbole.sampler import KGSampler


class KnowledgeDataLoader(KnowledgeBasedDataLoader):
    """RecBole's loader of both halves, around a loader of interactions that is made elsewhere.

    Args:
        config: the run's configuration.
        whole: the data set; its facts are those of every part.
        rows: the loader of interactions.
    """

    def __init__(self, config: Any, whole: KnowledgeBasedDataset, rows: TrainDataLoader) -> None:
        # RecBole's own constructor would make the loader of interactions.
        self.logger = getLogger()
        self.general_dataloader = rows
        drawn = config["train_neg_sample_args"]
        sampler = KGSampler(whole, drawn["distribution"], drawn["alpha"])
        self.kg_dataloader = KGDataLoader(config, rows._dataset, sampler, shuffle=True)
        self.shuffle = False
        self.state = self.kg_iter = self.gen_iter = None
        self._dataset = self.dataset = rows._dataset

    @property
    def fields_of_facts(self) -> set[str]:
        """The columns of a batch that are about facts, and no columns of its rows."""
        return {*self._dataset.kg_feat.columns, self.kg_dataloader.neg_tid_field}


def row_loader(loader: Any) -> Any:
    """The loader of interactions: itself, or a knowledge model's half."""
    return loader.general_dataloader if isinstance(loader, KnowledgeBasedDataLoader) else loader


def order_state(loader: Any) -> torch.Tensor:
    """State of what shuffles a train loader, uint8; of two halves one after the other."""
    return torch.cat([generator.get_state() for generator in _generators(loader)])


def set_order_state(loader: Any, state: torch.Tensor) -> None:
    """Continue from what `order_state` gave."""
    generators = _generators(loader)
    for generator, part in zip(generators, state.chunk(len(generators)), strict=True):
        # Of a part of a tensor, torch reads from the start of the whole's memory, or beyond its end.
        generator.set_state(part.clone())


def _generators(loader: Any) -> Sequence[torch.Generator]:
    if isinstance(loader, KnowledgeBasedDataLoader):
        return loader.general_dataloader.generator, loader.kg_dataloader.generator
    return (loader.generator,)
